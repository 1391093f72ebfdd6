//! A status event: what became of a delivery, as everybody is told it.

use crate::routing_key::channel;
use carillon_broker::{Outgoing, Raw};
use carillon_domain::delivery_status::{Reason, Status, told_by};
use carillon_domain::notification::Notification;
use carillon_domain::platform::Platform;
use carillon_store::{StatusChange, StatusSubject, changed_at};
use carillon_wire::topology::STATUSES;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// A status event: the body that webhooks have, under its change's routing key.
pub(crate) struct Told {
    key: Arc<str>,
    id: String,
    body: Value,
}

impl Told {
    /// The message, for whoever listens.
    pub(crate) fn message(&self) -> Option<Outgoing> {
        let bytes = serde_json::to_vec(&self.body).ok()?;
        let message = Outgoing::routed(STATUSES.name, &*self.key, &Raw(bytes.into()));
        Some(message.with_content_type("application/json").with_id(self.id.as_str()))
    }
}

/// The event of a change; nothing where what it is about does not read any more.
pub(crate) fn event(
    batch: i64,
    key: Arc<str>,
    change: &StatusChange,
    subject: &StatusSubject,
    known: &mut HashMap<Uuid, Option<Notification>>,
) -> Option<Told> {
    let notification = known
        .entry(subject.notification_id)
        .or_insert_with(|| carillon_wire::decode_body(&subject.body).ok())
        .as_ref()?;
    let status = Status::from_number(change.status)?;
    let platform = subject.platform.and_then(Platform::from_number).map(Platform::as_str);
    Some(Told {
        key,
        id: format!("{batch}:{}:{}:{}:{}", change.run, change.link, change.subject, change.status),
        body: body(change, subject, notification, status, platform),
    })
}

fn body(
    change: &StatusChange,
    subject: &StatusSubject,
    notification: &Notification,
    status: Status,
    platform: Option<&str>,
) -> Value {
    let draft = notification.draft();
    let metadata: Map<String, Value> =
        draft.metadata.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
    let at = changed_at(change).to_string();
    let reason = change.reason.and_then(Reason::from_number);
    let mut told = json!({
        "type": format!("message.{}", status.as_str()),
        "timestamp": at,
        "data": {
            "notification_id": subject.notification_id,
            "reference": draft.reference,
            "metadata": metadata,
            "app": subject.app,
            "user_id": subject.user_id,
            "device": subject.device,
            "channel": channel(change.link),
            "platform": platform,
            "gateway": subject.gateway,
            "link": change.link,
            "status": status.as_str(),
            "reason": reason.map(Reason::as_str),
            // Of the status that is told, not of what is known by now.
            "evidence": told_by(status, reason, change.link == 0),
            "at": at,
            "provider_id": subject.provider_id,
        }
    });
    if let Some(action) = subject.action.as_deref().filter(|_| status == Status::Clicked) {
        told["data"]["action"] = action.into();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::notification::Draft;
    use expect_test::{Expect, expect};

    fn subject() -> StatusSubject {
        let draft = Draft {
            app: "shop".into(),
            reference: Some("order-17".into()),
            metadata: vec![("team".into(), "orders".into())],
            ..Default::default()
        };
        StatusSubject {
            notification_id: Uuid::from_u128(0x17),
            app: "shop".into(),
            body: carillon_wire::encode_body(&Notification::accepted(draft)).into(),
            device: Some("d1".into()),
            user_id: Some("u1".into()),
            platform: Some(Platform::Apns.number()),
            provider_id: Some("apns-id".into()),
            gateway: None,
            action: None,
        }
    }

    fn change(link: i16, subject: i64, status: Status, reason: Option<Reason>) -> StatusChange {
        let reason = reason.map(Reason::number);
        StatusChange {
            run: Uuid::from_u128(9),
            subject,
            link,
            status: status.number(),
            reason,
            platform: None,
            at_ms: 1_790_000_000_123,
        }
    }

    /// Where an event goes and what it says.
    fn told(change: &StatusChange, subject: &StatusSubject, expected: Expect) {
        let told = event(5, "key".into(), change, subject, &mut HashMap::new()).unwrap();
        let text = format!("{} {}\n{}", told.key, told.id, serde_json::to_string_pretty(&told.body).unwrap());
        expected.assert_eq(&text);
    }

    #[test]
    fn a_push_is_told_with_all_that_a_webhook_says() {
        told(
            &change(0, 4, Status::Sent, None),
            &subject(),
            expect![[r#"
            key 5:00000000-0000-0000-0000-000000000009:0:4:6
            {
              "data": {
                "app": "shop",
                "at": "2026-09-21T14:13:20.123Z",
                "channel": "push",
                "device": "d1",
                "evidence": "provider",
                "gateway": null,
                "link": 0,
                "metadata": {
                  "team": "orders"
                },
                "notification_id": "00000000-0000-0000-0000-000000000017",
                "platform": "apns",
                "provider_id": "apns-id",
                "reason": null,
                "reference": "order-17",
                "status": "sent",
                "user_id": "u1"
              },
              "timestamp": "2026-09-21T14:13:20.123Z",
              "type": "message.sent"
            }"#]],
        );
    }

    #[test]
    fn a_person_without_a_device_is_told_under_no_platform() {
        let nobody =
            StatusSubject { device: None, platform: None, provider_id: None, user_id: Some("u2".into()), ..subject() };
        told(
            &change(0, -3, Status::Suppressed, Some(Reason::NoDevice)),
            &nobody,
            expect![[r#"
            key 5:00000000-0000-0000-0000-000000000009:0:-3:1
            {
              "data": {
                "app": "shop",
                "at": "2026-09-21T14:13:20.123Z",
                "channel": "push",
                "device": null,
                "evidence": "none",
                "gateway": null,
                "link": 0,
                "metadata": {
                  "team": "orders"
                },
                "notification_id": "00000000-0000-0000-0000-000000000017",
                "platform": null,
                "provider_id": null,
                "reason": "no_device",
                "reference": "order-17",
                "status": "suppressed",
                "user_id": "u2"
              },
              "timestamp": "2026-09-21T14:13:20.123Z",
              "type": "message.suppressed"
            }"#]],
        );
    }

    #[test]
    fn a_click_is_told_with_its_button_and_what_came_before_it_without() {
        let clicked = StatusSubject { action: Some("buy".into()), ..subject() };
        let of =
            |status| event(5, "key".into(), &change(0, 4, status, None), &clicked, &mut HashMap::new()).unwrap().body;
        assert_eq!(of(Status::Clicked)["data"]["action"], "buy");
        assert_eq!(of(Status::Opened)["data"].get("action"), None);
    }

    #[test]
    fn a_text_message_is_told_with_its_gateway() {
        let text = StatusSubject { device: None, platform: None, gateway: Some("main".into()), ..subject() };
        told(
            &change(1, -3, Status::Delivered, None),
            &text,
            expect![[r#"
            key 5:00000000-0000-0000-0000-000000000009:1:-3:8
            {
              "data": {
                "app": "shop",
                "at": "2026-09-21T14:13:20.123Z",
                "channel": "sms",
                "device": null,
                "evidence": "operator",
                "gateway": "main",
                "link": 1,
                "metadata": {
                  "team": "orders"
                },
                "notification_id": "00000000-0000-0000-0000-000000000017",
                "platform": null,
                "provider_id": "apns-id",
                "reason": null,
                "reference": "order-17",
                "status": "delivered",
                "user_id": "u1"
              },
              "timestamp": "2026-09-21T14:13:20.123Z",
              "type": "message.delivered"
            }"#]],
        );
    }

    #[test]
    fn a_body_or_a_status_that_does_not_read_is_not_told() {
        let broken = StatusSubject { body: [0xff].as_slice().into(), ..subject() };
        assert!(event(5, "key".into(), &change(0, 4, Status::Sent, None), &broken, &mut HashMap::new()).is_none());
        let unknown = StatusChange { status: 99, ..change(0, 4, Status::Sent, None) };
        assert!(event(5, "key".into(), &unknown, &subject(), &mut HashMap::new()).is_none());
    }

    #[test]
    fn a_failure_that_no_provider_spoke_of_is_nobodys_word() {
        let told_by = |reason| {
            let failed = change(0, 4, Status::Failed, Some(reason));
            let told = event(5, "key".into(), &failed, &subject(), &mut HashMap::new()).unwrap();
            told.body["data"]["evidence"].as_str().unwrap().to_owned()
        };
        assert_eq!(told_by(Reason::ProviderRejected), "provider");
        assert_eq!(told_by(Reason::ProviderUnavailable), "none", "as the delivery's history has it");
    }
}
