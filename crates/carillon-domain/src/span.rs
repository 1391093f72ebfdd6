//! Durations as callers write them: `^[0-9]+(s|m|h|d|w)$`, or whole seconds.

use std::fmt;

/// A whole number of seconds, at most `u32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u32);

impl Seconds {
    /// Reads `30m`, `4w`, `45s`, or whole seconds as digits. `None` for anything else, and for what does not fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, unit) = match text.char_indices().last()? {
            (i, 's') => (&text[..i], 1),
            (i, 'm') => (&text[..i], 60),
            (i, 'h') => (&text[..i], 3600),
            (i, 'd') => (&text[..i], 86_400),
            (i, 'w') => (&text[..i], 604_800),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse::<u32>().ok()?.checked_mul(unit).map(Self)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_units_are_seconds_minutes_hours_days_and_weeks() {
        let all = ["0s", "90", "30m", "2h", "28d", "4w"].map(|t| Seconds::parse(t).map(|s| s.0));
        assert_eq!(all, [Some(0), Some(90), Some(1800), Some(7200), Some(2_419_200), Some(2_419_200)]);
        for bad in ["", "m", "-1s", "1.5h", "1 h", "1y", "99999999w", "+5s", "٣s"] {
            assert_eq!(Seconds::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(n in any::<u32>()) {
            prop_assert_eq!(Seconds::parse(&Seconds(n).to_string()), Some(Seconds(n)));
        }
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = Seconds::parse(&text);
        }
    }
}
