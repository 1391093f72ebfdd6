//! How many parts a text takes (GSM 03.38 and UCS-2).

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Parts of a text: 160 units in one and 153 in each of many, with national letters 70 and 67.
pub(crate) fn parts(text: &str) -> usize {
    let septets = text.chars().try_fold(0, |units, letter| {
        if BASIC.contains(letter) {
            Some(units + 1)
        } else if EXTENDED.contains(letter) {
            Some(units + 2)
        } else {
            None
        }
    });
    match septets {
        Some(units) if units <= 160 => 1,
        Some(units) => usize::div_ceil(units, 153),
        None => match text.encode_utf16().count() {
            units if units <= 70 => 1,
            units => units.div_ceil(67),
        },
    }
}

/// Whether it is free of letters that need UCS-2.
pub(crate) fn is_plain(text: &str) -> bool {
    text.chars().all(|letter| BASIC.contains(letter) || EXTENDED.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_the_alphabet() {
        assert_eq!(parts(&"a".repeat(160)), 1);
        assert_eq!(parts(&"a".repeat(161)), 2);
        assert_eq!(parts(&"€".repeat(80)), 1);
        assert_eq!(parts(&"€".repeat(81)), 2);
        assert_eq!(parts(&"ż".repeat(70)), 1);
        assert_eq!(parts(&"ż".repeat(71)), 2);
        assert!(!is_plain("ż"));
    }
}
