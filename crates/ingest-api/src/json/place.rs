//! Where in a document something stands.

/// A place on the way down: costs nothing until somebody asks for the pointer.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// The JSON pointer.
    pub(super) fn pointer(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Key(parent, key) => format!("{}/{}", parent.pointer(), escape(key)),
            Place::Index(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }

    /// How many objects and lists are around.
    pub(super) fn depth(&self) -> usize {
        match self {
            Place::Root => 0,
            Place::Key(parent, _) | Place::Index(parent, _) => parent.depth() + 1,
        }
    }
}

/// A key as it stands in a JSON pointer. A long one is cut: it is somebody's input.
pub(crate) fn escape(key: &str) -> String {
    let shown: String = key.chars().take(64).collect();
    shown.replace('~', "~0").replace('/', "~1")
}
