//! A rendered body with the places where a dispatcher writes per message.

use crate::values::Values;
use bytes::Bytes;
use carillon_domain::limits;
use carillon_domain::reference::TEXT_LEN;
use std::fmt;

/// Splice points of one template at most: overrides can take some away and never add one.
const MOST_SPLICES: usize = 16;
/// Bytes of the longest device id (contract, section 1).
const DEVICE_BYTES: usize = 128;

/// What a dispatcher writes at a splice point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Splice {
    /// The target as a whole member of FCM's `message`, `"token":"..."` or `"fid":"..."`: the name goes with the value, so
    /// that one template serves both kinds of target.
    Token,
    /// The public device id, bare: the quotes stand in the template.
    Device,
    /// The text of the reference, bare.
    Reference,
    /// The seconds that are left, in digits.
    TtlSeconds,
}

/// Why bytes and splice points do not make a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More splice points than any platform has.
    #[error("has {0} splice points, at most {MOST_SPLICES} are allowed")]
    TooMany(usize),
    /// A splice point lies before the one in front of it or past the end.
    #[error("splice point {0} is out of order or past the end")]
    Misplaced(usize),
}

/// A body for one platform and one variant. `Debug` shows its measures only: it holds what a notification says.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    bytes: Bytes,
    splices: Vec<(u32, Splice)>,
}

impl Template {
    /// Puts a template together again that travelled as bytes and offsets into them.
    ///
    /// # Errors
    /// When the offsets do not ascend, lie past the end, or are more than 16.
    pub fn new(bytes: Bytes, splices: Vec<(u32, Splice)>) -> Result<Self, TemplateError> {
        if splices.len() > MOST_SPLICES {
            return Err(TemplateError::TooMany(splices.len()));
        }
        let mut from = 0;
        for (i, (offset, _)) in splices.iter().enumerate() {
            if *offset < from || *offset as usize > bytes.len() {
                return Err(TemplateError::Misplaced(i));
            }
            from = *offset;
        }
        Ok(Self { bytes, splices })
    }

    /// From a writer, whose offsets ascend by the way it works.
    pub(crate) fn written(bytes: Vec<u8>, splices: Vec<(u32, Splice)>) -> Self {
        Self { bytes: bytes.into(), splices }
    }

    /// The constant part.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Offsets into [`Template::bytes`] before which a value is written, in ascending order.
    pub fn splices(&self) -> &[(u32, Splice)] {
        &self.splices
    }

    /// The body for one message, in a buffer of its own of exactly its size.
    pub fn render(&self, values: &Values<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rendered_len(values));
        self.render_into(values, &mut out);
        out
    }

    /// Appends the body for one message to `out`. Copies slices and does nothing else: it runs once per push.
    pub fn render_into(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        out.reserve(self.rendered_len(values));
        let mut from = 0;
        for (offset, splice) in &self.splices {
            let to = *offset as usize;
            out.extend_from_slice(&self.bytes[from..to]);
            for part in values.parts(*splice) {
                out.extend_from_slice(part);
            }
            from = to;
        }
        out.extend_from_slice(&self.bytes[from..]);
    }

    /// The length in bytes of what [`Template::render`] gives for these values.
    pub fn rendered_len(&self, values: &Values<'_>) -> usize {
        let spliced: usize = self.splices.iter().map(|(_, s)| values.len_of(*s)).sum();
        self.bytes.len() + spliced
    }

    /// The bytes that a provider counts against its limit, with the longest values any message can have. The target is not
    /// among them: FCM's limit is one of the payload.
    pub fn most_bytes(&self) -> usize {
        let longest = |splice: &Splice| match splice {
            Splice::Token => 0,
            Splice::Device => DEVICE_BYTES,
            Splice::Reference => TEXT_LEN,
            Splice::TtlSeconds => limits::TTL_SECONDS.ilog10() as usize + 1,
        };
        self.bytes.len() + self.splices.iter().map(|(_, s)| longest(s)).sum::<usize>()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({} bytes, splices {:?})", self.bytes.len(), self.splices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_out_of_order_or_past_the_end_make_no_template() {
        let new = |splices: &[(u32, Splice)]| Template::new(Bytes::from_static(b"{}"), splices.to_vec()).map(drop);
        assert_eq!(new(&[(1, Splice::Device), (1, Splice::Reference), (2, Splice::Token)]), Ok(()));
        assert_eq!(new(&[(2, Splice::Device), (1, Splice::Reference)]), Err(TemplateError::Misplaced(1)));
        assert_eq!(new(&[(3, Splice::Device)]), Err(TemplateError::Misplaced(0)));
        assert_eq!(new(&[(0, Splice::Device); 17]), Err(TemplateError::TooMany(17)));
    }

    #[test]
    fn debug_output_shows_no_contents() {
        let template = Template::new(Bytes::from_static(b"secret"), vec![(2, Splice::Device)]).unwrap();
        assert_eq!(format!("{template:?}"), "Template(6 bytes, splices [(2, Device)])");
    }
}
