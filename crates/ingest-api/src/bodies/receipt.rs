//! Receipts as JSON has them.

use super::draft::one_of;
use crate::json::{FromJson, Object};
use carillon_domain::ids::{NotificationId, is_device_id};
use carillon_domain::limits;
use carillon_domain::receipt::Event;
use carillon_domain::reference::Reference;
use jiff::Timestamp;
use uuid::Uuid;

/// Bytes of a button's id.
const ACTION_BYTES: usize = 64;

/// What one device says it did with one push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) notification_id: Option<NotificationId>,
    /// The `r` of the reserved key; `Some(None)` when it is none of ours.
    pub(crate) run: Option<Option<Reference>>,
    pub(crate) device: Option<String>,
    pub(crate) event: Event,
    pub(crate) at: Option<Timestamp>,
    /// The button that was pressed; of clicks only.
    pub(crate) action: Option<String>,
}

/// The body of `POST /v1/receipts`.
#[derive(Debug)]
pub(crate) struct ReceiptsBody(pub(crate) Vec<Receipt>);

impl FromJson for ReceiptsBody {
    fn from_json(object: &mut Object<'_>) -> Option<Self> {
        let items = object.need("receipts", |object, name| object.list(name, limits::RECEIPTS))?;
        let read: Vec<Option<Receipt>> = items.iter().map(|item| receipt(item.object()?)).collect();
        read.into_iter().collect::<Option<Vec<_>>>().map(Self)
    }
}

fn receipt(mut r: Object<'_>) -> Option<Receipt> {
    let notification_id = r.parsed("notification_id", "must be the id of a notification", |t| Uuid::parse_str(t).ok());
    // A mangled one is no fault of form: the push may have come from another platform, or from long ago.
    let run = r.opt_text("run", 128).map(|text| Reference::parse(&text));
    let device = r.parsed("device", "must be a device id", |text| is_device_id(text).then(|| text.to_owned()));
    let event = r.need("event", |r, name| r.parsed(name, || one_of(&Event::texts()), Event::from_text));
    // Some systems name no button by an empty text.
    let action = r.opt_text("action", ACTION_BYTES).filter(|action| !action.is_empty());
    let at = r.time("at");
    if notification_id.is_none() && run.is_none() && r.value("notification_id").is_none() {
        r.fault("run", "or a notification_id is needed");
    }
    // Who opened it by a button pressed one.
    let event = match (event?, &action) {
        (Event::Opened, Some(_)) => Event::Clicked,
        (event, None) | (event @ Event::Clicked, Some(_)) => event,
        (_, Some(_)) => {
            r.fault("action", "names the button that was pressed, and belongs to opened and clicked");
            return None;
        }
    };
    Some(Receipt { notification_id: notification_id.map(NotificationId), run, device, event, at, action })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Unknown, read};
    use serde_json::{Value, json};

    fn of(receipts: &Value) -> Result<Vec<Receipt>, Vec<String>> {
        read::<ReceiptsBody>(&json!({ "receipts": receipts }).into(), Unknown::Refuse)
            .map(|read| read.value.0)
            .map_err(|refusal| refusal.faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn a_receipt_names_its_push_by_reference_or_by_notification() {
        let id = Uuid::now_v7();
        let read = of(&json!([
            {"run": "not one of ours", "event": "opened"},
            {"notification_id": id, "device": "d1", "event": "delivered", "at": "2026-11-21T10:00:00Z"}
        ]))
        .unwrap();
        assert_eq!((read[0].run, read[0].event), (Some(None), Event::Opened));
        assert_eq!((read[1].notification_id, read[1].device.as_deref()), (Some(NotificationId(id)), Some("d1")));
    }

    #[test]
    fn opening_by_a_button_is_a_click() {
        let of = |action: &str| of(&json!([{"run": "x", "event": "opened", "action": action}])).unwrap().remove(0);
        assert_eq!((of("buy").event, of("buy").action.as_deref()), (Event::Clicked, Some("buy")));
        assert_eq!((of("").event, of("").action), (Event::Opened, None), "no button");
    }

    #[test]
    fn a_bad_receipt_is_named_by_its_place() {
        for (receipt, pointer) in [
            (json!({"event": "opened"}), "/receipts/0/run"),
            (json!({"run": "x"}), "/receipts/0/event"),
            (json!({"run": "x", "event": "seen"}), "/receipts/0/event"),
            (json!({"run": "x", "event": "delivered", "action": "buy"}), "/receipts/0/action"),
            (json!({"notification_id": "17", "event": "opened"}), "/receipts/0/notification_id"),
            (json!({"run": "x", "device": "a/b", "event": "opened"}), "/receipts/0/device"),
            (json!({"run": "x", "event": "opened", "at": "now"}), "/receipts/0/at"),
            (json!(7), "/receipts/0"),
        ] {
            assert_eq!(of(&json!([receipt])).unwrap_err(), [pointer]);
        }
        let many: Vec<Value> = (0..1_001).map(|_| json!({"run": "x", "event": "opened"})).collect();
        assert_eq!(of(&json!(many)).unwrap_err(), ["/receipts"]);
    }
}
