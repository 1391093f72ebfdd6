//! Lists of names in one piece of memory. A notification may name two thousand, and to allocate each would cost more than all else that is done with
//! it.

use std::fmt;
use std::iter::FusedIterator;

/// Names, in the order in which they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    text: String,
    /// Where each ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl Names {
    /// An empty list with room for so many names of so many bytes together.
    pub fn with_capacity(names: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(names) }
    }

    /// Adds a name at the end.
    pub fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> Iter<'_> {
        Iter { text: &self.text, begin: 0, ends: self.ends.iter() }
    }

    /// All of them behind each other: what every byte of every name has to be can be asked of the whole.
    pub fn joined(&self) -> &str {
        &self.text
    }

    /// How many bytes each has.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        self.ends.iter().zip(begins).map(|(end, begin)| end - begin)
    }

    /// Whether this one is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|other| other == name)
    }

    /// Removes repeats and sorts, so that equal lists are equal. Long lists mostly come in order already.
    pub fn normalize(&mut self) {
        if self.iter().is_sorted_by(|a, b| a < b) {
            return;
        }
        let mut all: Vec<&str> = self.iter().collect();
        all.sort_unstable();
        all.dedup();
        *self = all.into_iter().collect();
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<N: AsRef<str>> Extend<N> for Names {
    fn extend<I: IntoIterator<Item = N>>(&mut self, names: I) {
        names.into_iter().for_each(|name| self.push(name.as_ref()));
    }
}

impl<N: AsRef<str>> FromIterator<N> for Names {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        let names = names.into_iter();
        let mut all = Self::with_capacity(names.size_hint().0, 0);
        all.extend(names);
        all
    }
}

impl<N: AsRef<str>, const COUNT: usize> From<[N; COUNT]> for Names {
    fn from(names: [N; COUNT]) -> Self {
        names.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Names {
    type Item = &'a str;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// [`Names::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    text: &'a str,
    begin: usize,
    ends: std::slice::Iter<'a, usize>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = *self.ends.next()?;
        let name = self.text.get(self.begin..end);
        self.begin = end;
        name
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_what_was_put_into_it(names in proptest::collection::vec("\\PC{0,12}", 0..20)) {
            let list: Names = names.iter().collect();
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), names.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!((list.len(), list.is_empty()), (names.len(), names.is_empty()));
            prop_assert_eq!(list.joined(), names.concat());
            prop_assert_eq!(list.lengths().collect::<Vec<_>>(), names.iter().map(String::len).collect::<Vec<_>>());
            prop_assert!(names.iter().all(|name| list.contains(name)) && !list.contains("not\0there"));
            prop_assert_eq!(format!("{list:?}"), format!("{names:?}"));
        }

        #[test]
        fn in_order_it_says_everything_once(names in proptest::collection::vec("[a-c]{0,2}", 0..20)) {
            let mut list: Names = names.iter().collect();
            list.normalize();
            let ordered: std::collections::BTreeSet<String> = names.into_iter().collect();
            prop_assert_eq!(list, ordered.iter().collect::<Names>());
        }
    }
}
