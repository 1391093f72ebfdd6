//! How long an encrypted message looks.
//!
//! A push service sees the length of what it carries, and with it which of an app's few texts it is. So messages are padded
//! to steps of 128 bytes (with the delimiter), which costs 64 bytes on average. The last step ends where one record ends.

/// The longest plaintext, in bytes: RFC 8291, section 4, has 4096 for the whole body, of which 86 are the header, 16 the tag
/// and 1 the delimiter.
pub(crate) const MOST_PLAINTEXT: usize = 3993;

/// Lengths are multiples of this.
const STEP: usize = 128;

/// Zeros that follow a plaintext of this length and its delimiter.
pub(crate) fn padding(plaintext: usize) -> usize {
    let padded = (plaintext + 1).next_multiple_of(STEP).min(MOST_PLAINTEXT + 1);
    padded.saturating_sub(plaintext + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn padded_messages_have_few_lengths_and_always_fit(plaintext in 0usize..=MOST_PLAINTEXT) {
            let whole = plaintext + 1 + padding(plaintext);
            prop_assert!(whole.is_multiple_of(STEP) || whole == MOST_PLAINTEXT + 1);
            prop_assert!(whole <= MOST_PLAINTEXT + 1 && padding(plaintext) < STEP);
        }
    }
}
