//! What the vault promises, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test may")]

use carillon_vault::{Context, Error, KindKeys, KindVault, MAX_PLAINTEXT, MasterKey, Vault};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

const CONTEXT: Context<'static> = Context { tenant: "t1", app: Some("a1"), kind: "apns", version: 1 };

fn vault(masters: &[u8]) -> Vault {
    Vault::new(masters.iter().map(|byte| MasterKey::new([*byte; 32])).collect()).unwrap()
}

fn apns(masters: &[u8]) -> KindVault {
    vault(masters).for_kind("apns").unwrap()
}

#[test]
fn another_tenant_app_version_or_none_refuses() {
    let vault = apns(&[1]);
    let sealed = vault.seal(&CONTEXT, b"secret").unwrap();
    let others = [
        Context { tenant: "t2", ..CONTEXT },
        Context { app: Some("a2"), ..CONTEXT },
        Context { app: None, ..CONTEXT },
        Context { app: Some(""), ..CONTEXT },
        Context { version: 2, ..CONTEXT },
        Context { tenant: "t1a1", app: Some(""), ..CONTEXT },
    ];
    for other in others {
        assert_eq!(vault.open(&other, &sealed).unwrap_err(), Error::Refused, "{other:?}");
    }
    assert_eq!(vault.open(&CONTEXT, &sealed).unwrap().expose_str().unwrap(), "secret");
}

#[test]
fn the_keys_of_one_kind_open_no_other_kind() {
    let sealed = apns(&[1]).seal(&CONTEXT, b"secret").unwrap();
    let fcm = vault(&[1]).for_kind("fcm").unwrap();
    assert_eq!(fcm.open(&CONTEXT, &sealed).unwrap_err(), Error::WrongKind);
    // Even with the kind written over in the context, the key is another one.
    assert_eq!(fcm.open(&Context { kind: "fcm", ..CONTEXT }, &sealed).unwrap_err(), Error::Refused);
    assert_eq!(fcm.seal(&CONTEXT, b"secret").unwrap_err(), Error::WrongKind);
}

#[test]
fn rotation_opens_the_old_and_seals_with_the_new() {
    let old = apns(&[1]);
    let sealed = old.seal(&CONTEXT, b"secret").unwrap();
    assert!(!old.needs_rewrap(&sealed));

    let rotated = apns(&[2, 1]);
    assert!(rotated.needs_rewrap(&sealed));
    let opened = rotated.open(&CONTEXT, &sealed).unwrap();
    let again = rotated.seal(&CONTEXT, opened.expose()).unwrap();
    assert!(!rotated.needs_rewrap(&again));

    let new = apns(&[2]);
    assert_eq!(new.open(&CONTEXT, &again).unwrap().expose(), b"secret");
    assert_eq!(new.open(&CONTEXT, &sealed).unwrap_err(), Error::UnknownKey);
}

#[test]
fn a_process_with_the_keys_of_one_kind_needs_no_master() {
    let vault = vault(&[2, 1]);
    let text = vault.keys_for_kind("apns").unwrap().to_text();
    let dispatcher = KindVault::new(KindKeys::parse("apns", text.expose_secret()).unwrap());
    let sealed = apns(&[1]).seal(&CONTEXT, b"secret").unwrap();
    assert_eq!(dispatcher.open(&CONTEXT, &sealed).unwrap().expose(), b"secret");
    assert!(dispatcher.needs_rewrap(&sealed));

    for text in ["x", "AAAA", "====", &"A".repeat(47), &"A".repeat(50)] {
        assert_eq!(KindKeys::parse("apns", text).unwrap_err(), Error::KindKeys, "{text}");
    }
    assert_eq!(KindKeys::parse("apns", " ").unwrap_err(), Error::NoKey);
}

#[test]
fn the_same_content_never_seals_alike() {
    let vault = apns(&[1]);
    assert_ne!(vault.seal(&CONTEXT, b"secret").unwrap(), vault.seal(&CONTEXT, b"secret").unwrap());
}

#[test]
fn a_content_beyond_the_bound_is_refused() {
    let vault = apns(&[1]);
    let longest = vault.seal(&CONTEXT, &vec![0; MAX_PLAINTEXT]).unwrap();
    assert_eq!(vault.open(&CONTEXT, &longest).unwrap().expose().len(), MAX_PLAINTEXT);
    assert_eq!(vault.seal(&CONTEXT, &vec![0; MAX_PLAINTEXT + 1]).unwrap_err(), Error::TooLong);
}

#[test]
fn an_opened_secret_does_not_print() {
    let vault = apns(&[1]);
    let opened = vault.open(&CONTEXT, &vault.seal(&CONTEXT, b"secret").unwrap()).unwrap();
    assert_eq!(format!("{opened:?}"), "Opened(***)");
    assert!(!format!("{vault:?}").contains('1'));
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        content in prop::collection::vec(any::<u8>(), 0..2000),
        tenant in ".{0,40}",
        app in prop::option::of(".{0,40}"),
        version: u64,
    ) {
        let vault = apns(&[1]);
        let context = Context { tenant: &tenant, app: app.as_deref(), kind: "apns", version };
        let sealed = vault.seal(&context, &content).unwrap();
        prop_assert_eq!(sealed.len(), content.len() + 1 + 4 + 12 + 16);
        let opened = vault.open(&context, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), content.as_slice());
    }

    #[test]
    fn any_flipped_bit_refuses(
        content in prop::collection::vec(any::<u8>(), 0..200),
        at: prop::sample::Index,
        bit in 0..8_u8,
    ) {
        let vault = apns(&[1]);
        let mut sealed = vault.seal(&CONTEXT, &content).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(vault.open(&CONTEXT, &sealed).is_err());
    }

    #[test]
    fn any_cut_or_longer_value_refuses(
        content in prop::collection::vec(any::<u8>(), 0..200),
        cut: prop::sample::Index,
    ) {
        let vault = apns(&[1]);
        let mut sealed = vault.seal(&CONTEXT, &content).unwrap();
        prop_assert!(vault.open(&CONTEXT, &sealed[..cut.index(sealed.len())]).is_err());
        sealed.push(0);
        prop_assert!(vault.open(&CONTEXT, &sealed).is_err());
    }

    #[test]
    fn arbitrary_bytes_neither_open_nor_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let vault = apns(&[1]);
        prop_assert!(vault.open(&CONTEXT, &bytes).is_err());
        prop_assert!(vault.needs_rewrap(&bytes));
    }
}
