//! Tests through the crate's door, and what they share.

mod deliveries;
mod localization;
mod merging;
mod properties;
mod sizes;
mod snapshots;

use crate::{Address, Facts, PayloadError, Splice, Template, Values, render};
use carillon_domain::content::{Button, Content, InterruptionLevel, JsonText, Localized, Open, OpenAs};
use carillon_domain::ids::{ChunkId, NotificationId};
use carillon_domain::notification::{Draft, Notification, Options};
use carillon_domain::platform::Platform;
use carillon_domain::reference::Reference;
use uuid::Uuid;

const ID: NotificationId = NotificationId(Uuid::from_u128(0x0193_8a7b_0000_7000_8000_0000_0000_0001));

fn facts() -> Facts<'static> {
    Facts {
        notification_id: ID,
        link: 0,
        expires_at: jiff::Timestamp::from_second(1_796_000_000).unwrap(),
        icon_url: Some("https://shop.example/icon.png"),
        default_locale: None,
    }
}

fn values() -> Values<'static> {
    Values::new(Address::Token("dQw4w9:APA91b-_x"), "phone-1", reference(), 3600)
}

fn reference() -> Reference {
    Reference { chunk: ChunkId { run: ID.as_run(), number: 3 }, position: 17 }
}

fn with(content: Content) -> Notification {
    Notification::accepted(Draft { app: "shop".into(), content, ..Default::default() })
}

fn hello() -> Content {
    Content { title: Some("Hello".into()), ..Default::default() }
}

fn json(text: &str) -> JsonText {
    JsonText(text.into())
}

/// Everything a notification can say.
fn full() -> Notification {
    let content = Content {
        title: Some("Your \"order\"".into()),
        subtitle: Some("Nr 17".into()),
        body: Some("Has left\nus".into()),
        image: Some("https://shop.example/17.png".into()),
        sound: Some("bell.caf".into()),
        badge: Some(3),
        thread: Some("orders".into()),
        android_channel: Some("orders-v2".into()),
        interruption_level: Some(InterruptionLevel::TimeSensitive),
        open: Some(Open::Url { url: "https://shop.example/17".into(), target: Some(OpenAs::Webview) }),
        buttons: vec![
            Button { id: "track".into(), title: "Track".into(), open: Some(Open::Screen("map".into())) },
            Button { id: "later".into(), title: "Later".into(), open: None },
        ],
        data: vec![("order".into(), json("\"17\"")), ("sum".into(), json("{\"net\":12.50,\"vat\":[1,null]}"))],
        silent: false,
        localized: vec![Localized {
            locale: "pl".into(),
            title: Some("Zamówienie".into()),
            buttons: vec![("track".into(), "Śledź".into())],
            ..Default::default()
        }],
        ..Default::default()
    };
    Notification::accepted(Draft {
        app: "shop".into(),
        content,
        options: Options { collapse_key: Some("order-17".into()), ..Default::default() },
        ..Default::default()
    })
}

/// The parsed body of one message.
fn body(n: &Notification, platform: Platform, locale: Option<&str>) -> serde_json::Value {
    serde_json::from_slice(&render(n, platform, locale, &facts()).unwrap().render(&values())).unwrap()
}

fn refusal(content: Content, platform: Platform) -> PayloadError {
    render(&with(content), platform, None, &facts()).unwrap_err()
}

/// The template as text, with its splice points shown.
fn picture(template: &Template) -> String {
    let text = std::str::from_utf8(template.bytes()).unwrap();
    let mut out = String::new();
    let mut from = 0;
    for (offset, splice) in template.splices() {
        let to = *offset as usize;
        let name = match splice {
            Splice::Token => "‹token›",
            Splice::Device => "‹device›",
            Splice::Reference => "‹reference›",
            Splice::TtlSeconds => "‹ttl›",
        };
        out.push_str(&text[from..to]);
        out.push_str(name);
        from = to;
    }
    out + &text[from..]
}
