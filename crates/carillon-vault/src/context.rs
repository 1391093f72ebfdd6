//! What a sealed value is bound to.

/// What a sealed value is bound to: it opens only with exactly the same context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context<'a> {
    /// The tenant's id in its text form.
    pub tenant: &'a str,
    /// The app's id in its text form; nothing for what belongs to the tenant as a whole.
    pub app: Option<&'a str>,
    /// Kind of secret, the one the [`crate::KindVault`] was made for.
    pub kind: &'a str,
    /// Version of the secret, counted by its owner: an older version cannot be put back in a newer one's row.
    pub version: u64,
}

impl Context<'_> {
    /// The associated data: every part with its length, so that no two contexts encode alike.
    pub(crate) fn encode(&self, header: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.tenant.len() + self.kind.len());
        for part in [b"carillon sealed".as_slice(), header, self.tenant.as_bytes(), self.kind.as_bytes()] {
            push(&mut bytes, part);
        }
        bytes.push(u8::from(self.app.is_some()));
        push(&mut bytes, self.app.unwrap_or_default().as_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes
    }
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn different_contexts_never_encode_alike(
            a in ("[ab]{0,3}", prop::option::of("[ab]{0,3}"), "[ab]{0,3}", 0..3_u64),
            b in ("[ab]{0,3}", prop::option::of("[ab]{0,3}"), "[ab]{0,3}", 0..3_u64),
        ) {
            let left = Context { tenant: &a.0, app: a.1.as_deref(), kind: &a.2, version: a.3 };
            let right = Context { tenant: &b.0, app: b.1.as_deref(), kind: &b.2, version: b.3 };
            prop_assert_eq!(left == right, left.encode(b"h") == right.encode(b"h"));
        }
    }
}
