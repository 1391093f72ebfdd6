use super::*;
use proptest::prelude::*;

const REFUSED: &[(&str, GuardError)] = &[
    ("", GuardError::Malformed),
    ("push.example.com/x", GuardError::Malformed),
    ("//push.example.com/x", GuardError::Malformed),
    ("https://", GuardError::Malformed),
    ("https:///x", GuardError::Malformed),
    ("https://push.example.com/a b", GuardError::Malformed),
    ("https://push.example.com/a\tb", GuardError::Malformed),
    ("https://push.example.com/\r\nx: y", GuardError::Malformed),
    ("https://push.example.com\\@127.0.0.1/", GuardError::Malformed),
    ("https://push.example.com/\u{ff0e}", GuardError::Malformed),
    ("https://pu\u{17f}h.example.com/", GuardError::Malformed),
    ("https://push.example.com:/x", GuardError::Malformed),
    ("https://push.example.com:0/x", GuardError::Malformed),
    ("https://push.example.com:65979/x", GuardError::Malformed),
    ("https://push.example.com:-1/x", GuardError::Malformed),
    ("https://[::1/x", GuardError::Malformed),
    ("https://[fe80::1%25eth0]/x", GuardError::IpLiteral),
    ("http://push.example.com/x", GuardError::NotHttps),
    ("HTTP://push.example.com/x", GuardError::NotHttps),
    ("ftp://push.example.com/x", GuardError::NotHttps),
    ("gopher://push.example.com/x", GuardError::NotHttps),
    ("file://push.example.com/etc/passwd", GuardError::NotHttps),
    ("ws://push.example.com/x", GuardError::NotHttps),
    ("https://me@push.example.com/x", GuardError::UserInfo),
    ("https://me:secret@push.example.com/x", GuardError::UserInfo),
    ("https://push.example.com@127.0.0.1/x", GuardError::UserInfo),
    ("https://@push.example.com/x", GuardError::UserInfo),
    ("https://push.example.com/x#y", GuardError::Fragment),
    ("https://127.0.0.1#@push.example.com/", GuardError::Fragment),
    ("https://push.example.com:80/x", GuardError::Port),
    ("https://push.example.com:8443/x", GuardError::Port),
    ("https://push.example.com:22/x", GuardError::Port),
    ("https://127.0.0.1/x", GuardError::IpLiteral),
    ("https://8.8.8.8/x", GuardError::IpLiteral),
    ("https://127.1/x", GuardError::IpLiteral),
    ("https://127.0.1/x", GuardError::IpLiteral),
    ("https://2130706433/x", GuardError::IpLiteral),
    ("https://0x7f000001/x", GuardError::IpLiteral),
    ("https://0x7f.1/x", GuardError::IpLiteral),
    ("https://0x7f.0x0.0x0.0x1/x", GuardError::IpLiteral),
    ("https://0177.0.0.1/x", GuardError::IpLiteral),
    ("https://017700000001/x", GuardError::IpLiteral),
    ("https://127.0.0.1./x", GuardError::IpLiteral),
    ("https://1.1.1.1.1/x", GuardError::IpLiteral),
    ("https://foo.0x/x", GuardError::IpLiteral),
    ("https://[::1]/x", GuardError::IpLiteral),
    ("https://[::ffff:127.0.0.1]/x", GuardError::IpLiteral),
    ("https://[::ffff:7f00:1]/x", GuardError::IpLiteral),
    ("https://[2001:4860:4860::8888]/x", GuardError::IpLiteral),
    ("https://[64:ff9b::7f00:1]/x", GuardError::IpLiteral),
    ("https://localhost/x", GuardError::HostName),
    ("https://localhost./x", GuardError::HostName),
    ("https://LOCALHOST/x", GuardError::HostName),
    ("https://app.localhost/x", GuardError::HostName),
    ("https://metadata/x", GuardError::HostName),
    ("https://kubernetes/x", GuardError::HostName),
    ("https://.example.com/x", GuardError::HostName),
    ("https://push..example.com/x", GuardError::HostName),
    ("https://push.example.com../x", GuardError::HostName),
    ("https://-push.example.com/x", GuardError::HostName),
    ("https://push-.example.com/x", GuardError::HostName),
];

const ACCEPTED: &[&str] = &[
    "https://push.example.com",
    "https://push.example.com/",
    "https://push.example.com:443/x",
    "HTTPS://Push.Example.Com/x",
    "https://push.example.com./x",
    "https://fcm.googleapis.com/fcm/send/abc:APA91b_x-y",
    "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
    "https://web.push.apple.com/QGx",
    "https://wns2-par02p.notify.windows.com/w/?token=BQYAAA%2f",
    "https://push.example.com/x?y=%00&z=[1]",
    "https://xn--bcher-kva.example/x",
    "https://a_b.example.com/x",
    "https://1.example.com/x",
    "https://0x7f.example.com/x",
];

#[test]
fn urls_that_could_reach_our_own_network_are_refused_by_their_text() {
    let guard = Guard::default();
    for (url, error) in REFUSED {
        assert_eq!(guard.check_url(url), Err(*error), "{url:?}");
    }
}

#[test]
fn urls_of_real_push_services_are_accepted() {
    let guard = Guard::default();
    for url in ACCEPTED {
        assert_eq!(guard.check_url(url), Ok(()), "{url}");
    }
}

#[test]
fn a_url_may_be_2048_bytes_long_and_no_longer() {
    let guard = Guard::default();
    let url = |len: usize| format!("{:x<len$}", "https://push.example.com/");
    assert_eq!(guard.check_url(&url(2048)), Ok(()));
    assert_eq!(guard.check_url(&url(2049)), Err(GuardError::TooLong));
}

#[test]
fn an_exempt_host_may_be_internal_but_its_url_stays_well_formed() {
    let guard = Guard::new("127.0.0.1:9443,localhost,[::1]:9443".parse().unwrap());
    for url in ["https://127.0.0.1:9443/x", "http://localhost:1234/x", "https://localhost/x", "https://[::1]:9443/x"] {
        assert_eq!(guard.check_url(url), Ok(()), "{url}");
    }
    assert_eq!(guard.check_url("https://127.0.0.1:9444/x"), Err(GuardError::IpLiteral));
    assert_eq!(guard.check_url("https://127.0.0.2:9443/x"), Err(GuardError::IpLiteral));
    assert_eq!(guard.check_url("https://localhost.example.com:9443/x"), Err(GuardError::Port));
    assert_eq!(guard.check_url("https://me@localhost/x"), Err(GuardError::UserInfo));
    assert_eq!(guard.check_url("https://localhost/x#y"), Err(GuardError::Fragment));
}

#[test]
fn one_internal_address_among_public_ones_condemns_the_name() {
    let guard = Guard::default();
    let origin: Origin = "https://push.example.com".parse().unwrap();
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 443);
    assert_eq!(guard.check_addresses(&origin, &[at("8.8.8.8"), at("2606:4700::1111")]), Ok(()));
    assert_eq!(guard.check_addresses(&origin, &[at("8.8.8.8"), at("10.0.0.1")]), Err(GuardError::NotPublic));
    assert_eq!(guard.check_addresses(&origin, &[at("64:ff9b::a00:1")]), Err(GuardError::NotPublic));
    assert_eq!(guard.check_addresses(&origin, &[]), Err(GuardError::NoAddress));
    let exempt = Guard::new("push.example.com".parse().unwrap());
    assert_eq!(exempt.check_addresses(&origin, &[at("10.0.0.1")]), Ok(()));
}

proptest! {
    #[test]
    fn no_text_makes_the_guard_panic(text in "\\PC{0,80}", tail in "[ -~]{0,40}") {
        let guard = Guard::default();
        let _ = guard.check_url(&text);
        let _ = guard.check_url(&format!("https://{tail}"));
    }

    #[test]
    fn what_is_accepted_is_https_on_443_at_a_name(authority in "[a-z0-9:.@\\[\\]%x-]{0,24}") {
        let url = format!("https://{authority}/x");
        if Guard::default().check_url(&url).is_ok() {
            let uri: http::Uri = url.parse().unwrap();
            let origin = Origin::of(&uri).unwrap();
            prop_assert_eq!(origin.port(), 443);
            prop_assert!(origin.host().parse::<IpAddr>().is_err());
            prop_assert!(!url.contains('@'));
        }
    }

    #[test]
    fn no_spelling_of_an_ipv4_address_is_taken_for_a_name(bits: u32, style in 0usize..6) {
        let [a, b, c, d] = bits.to_be_bytes();
        let host = match style {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => format!("{bits}"),
            2 => format!("0x{bits:x}"),
            3 => format!("0{bits:o}"),
            4 => format!("0x{a:x}.0{b:o}.{}", u16::from_be_bytes([c, d])),
            _ => format!("{a}.{}", bits & 0xff_ffff),
        };
        prop_assert_eq!(Guard::default().check_url(&format!("https://{host}/x")), Err(GuardError::IpLiteral));
    }
}
