//! How many parts a text is billed as (GSM 03.38 and UCS-2).

/// The default alphabet of GSM 03.38, one septet a character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";
/// Its extension table, two septets a character.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Septets of a character, or nothing if the alphabet does not have it.
fn septets(character: char) -> Option<usize> {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => Some(1),
        other if BASIC.contains(other) => Some(1),
        other if EXTENSION.contains(other) => Some(2),
        _ => None,
    }
}

/// Parts of a text, at least 1. In one part: 160 septets or 70 units of UTF-16; in several, 153 and 67 each, and nothing that takes two
/// units is cut in half.
pub(crate) fn segments(text: &str) -> usize {
    let weights: Option<Vec<usize>> = text.chars().map(septets).collect();
    match weights {
        Some(weights) => parts(&weights, 160, 153),
        None => parts(&text.chars().map(char::len_utf16).collect::<Vec<_>>(), 70, 67),
    }
}

fn parts(weights: &[usize], alone: usize, each: usize) -> usize {
    if weights.iter().sum::<usize>() <= alone {
        return 1;
    }
    let (count, _) =
        weights.iter().fold(
            (1, 0),
            |(count, used), weight| {
                if used + weight > each { (count + 1, *weight) } else { (count, used + weight) }
            },
        );
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_text_has_160_characters_in_one_part_and_153_in_each_of_many() {
        for (length, expected) in [(0, 1), (1, 1), (160, 1), (161, 2), (306, 2), (307, 3), (459, 3)] {
            assert_eq!(segments(&"a".repeat(length)), expected, "{length}");
        }
    }

    #[test]
    fn a_text_with_other_letters_has_70_and_67() {
        for (length, expected) in [(70, 1), (71, 2), (134, 2), (135, 3)] {
            assert_eq!(segments(&"ż".repeat(length)), expected, "{length}");
        }
        assert_eq!(segments(&format!("{}ż", "a".repeat(69))), 1);
        assert_eq!(segments(&format!("{}ż", "a".repeat(70))), 2);
    }

    #[test]
    fn characters_of_the_extension_count_twice_and_are_not_cut_in_half() {
        assert_eq!((segments(&"€".repeat(80)), segments(&"€".repeat(81))), (1, 2));
        // 153 is odd: each part holds 76 of them.
        assert_eq!((segments(&"€".repeat(152)), segments(&"€".repeat(153))), (2, 3));
    }

    #[test]
    fn an_emoji_is_two_units_and_is_not_cut_in_half() {
        assert_eq!((segments(&"🔔".repeat(35)), segments(&"🔔".repeat(36))), (1, 2));
        assert_eq!((segments(&"🔔".repeat(66)), segments(&"🔔".repeat(67))), (2, 3));
    }

    #[test]
    fn what_both_alphabets_hold_is_told_apart() {
        assert_eq!(segments(&"ä".repeat(160)), 1);
        assert_eq!(segments(&"ç".repeat(160)), 3);
    }

    proptest! {
        #[test]
        fn one_more_character_never_makes_fewer_parts(text in "[a-z€żé🔔\n]{0,400}", more in any::<char>()) {
            let longer = format!("{text}{more}");
            prop_assert!(segments(&longer) >= segments(&text));
        }
    }
}
