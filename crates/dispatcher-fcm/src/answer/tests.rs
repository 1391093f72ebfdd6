use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn said(status: u16, error: &Value) -> Verdict {
    refusal(StatusCode::from_u16(status).unwrap(), None, json!({ "error": error }).to_string().as_bytes()).verdict
}

fn coded(status: u16, code: &str) -> Verdict {
    said(status, &json!({"code": status, "message": "m", "details": [{"@type": FCM_ERROR, "errorCode": code}]}))
}

fn fate(verdict: &Verdict) -> Option<TokenFate> {
    match verdict {
        Verdict::Rejected { token, .. } => Some(*token),
        _ => None,
    }
}

#[test]
fn a_token_is_retired_only_by_fcms_own_word_with_its_status() {
    assert_eq!(fate(&coded(404, "UNREGISTERED")), Some(TokenFate::Retire { since: None }));
    assert_eq!(fate(&coded(403, "SENDER_ID_MISMATCH")), Some(TokenFate::RetireUnlessMany));
    for (status, code) in [
        (400, "INVALID_ARGUMENT"),
        (400, "UNREGISTERED"),
        (401, "THIRD_PARTY_AUTH_ERROR"),
        (404, "SENDER_ID_MISMATCH"),
        (404, "NEW_WORD"),
        (500, "INTERNAL"),
    ] {
        let verdict = coded(status, code);
        assert!(fate(&verdict).is_none_or(|token| token == TokenFate::Keep), "{status} {code}");
    }
}

#[test]
fn a_page_that_is_not_there_blames_the_settings_and_no_token() {
    let page = refusal(StatusCode::NOT_FOUND, None, b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>");
    assert_eq!(page.verdict, Verdict::Misconfigured { detail: "NOT_FOUND".into() });
    assert!(matches!(said(404, &json!({"status": "NOT_FOUND"})), Verdict::Misconfigured { .. }));
}

#[test]
fn an_invalid_argument_costs_the_token_only_if_nothing_else_is_wrong() {
    let of = |fields: Value, message: &str| {
        let details = json!([{"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}, {"fieldViolations": fields}]);
        fate(&said(400, &json!({"message": message, "details": details})))
    };
    let token = json!({"field": "message.token", "description": "Invalid registration token"});
    let other = json!({"field": "message.android.ttl", "description": "Malformed"});
    let phrase = "The registration token is not a valid FCM registration token";
    assert_eq!(of(json!([token]), ""), Some(TokenFate::RetireUnlessMany));
    assert_eq!(of(json!([]), phrase), Some(TokenFate::RetireUnlessMany));
    assert_eq!(of(json!([token, other]), phrase), Some(TokenFate::Keep));
    assert_eq!(of(json!([other]), phrase), Some(TokenFate::Keep));
    assert_eq!(of(json!([]), "Request contains an invalid argument."), Some(TokenFate::Keep));
}

#[test]
fn a_message_that_is_too_big_says_so() {
    let details = json!([{"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}]);
    let verdict = said(400, &json!({"message": "Android message is too big", "details": details}));
    assert_eq!(verdict, Verdict::Rejected { reason: Reason::PayloadTooLarge, token: TokenFate::Keep });
}

#[test]
fn a_quota_pauses_the_project_and_a_devices_own_only_the_device() {
    let with = |subject: &str, description: &str| {
        let violation = json!({"subject": subject, "description": description});
        let details = json!([{"@type": FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"}, {"violations": [violation]}]);
        said(429, &json!({"message": "m", "details": details}))
    };
    let throttled = |scope| Verdict::Throttled { retry_after: Some(QUOTA), scope };
    assert_eq!(with("project:1", "Messages per minute"), throttled(Scope::Credential));
    assert_eq!(with("device:1", "Message rate"), throttled(Scope::Device));
    assert_eq!(with("", "Device message rate exceeded"), throttled(Scope::Device));
    let told = refusal(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(7)), b"");
    let seven = Some(Duration::from_secs(7));
    assert_eq!(told.verdict, Verdict::Throttled { retry_after: seven, scope: Scope::Credential });
}

#[test]
fn a_refused_bearer_token_is_told_from_what_firebase_shows_to_others() {
    let status = StatusCode::UNAUTHORIZED;
    assert!(refusal(status, None, br#"{"error":{"status":"UNAUTHENTICATED"}}"#).unauthenticated);
    assert!(refusal(status, None, b"").unauthenticated);
    let apple = coded(401, "THIRD_PARTY_AUTH_ERROR");
    assert_eq!(apple, Verdict::Rejected { reason: Reason::Credential, token: TokenFate::Keep });
}

#[test]
fn a_project_that_may_not_send_is_named_by_googles_most_exact_word() {
    let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]);
    let verdict = said(403, &json!({"status": "PERMISSION_DENIED", "details": details}));
    assert_eq!(verdict, Verdict::Misconfigured { detail: "SERVICE_DISABLED".into() });
    let odd = said(403, &json!({"status": "dQw4w9:secret"}));
    assert_eq!(odd, Verdict::Misconfigured { detail: "PERMISSION_DENIED".into() });
}

#[test]
fn what_was_surely_not_sent_may_go_again_and_the_rest_is_unknown() {
    use carillon_egress::Unknown;
    let refused = unanswered(&RequestError::NotSent(NotSent::Refused));
    assert_eq!(refused.verdict, Verdict::Unavailable { retry_after: None });
    assert_eq!(unanswered(&RequestError::Unknown(Unknown::Timeout)).verdict, Verdict::Unknown);
    let accepted = RequestError::TooLarge { status: StatusCode::OK, cap: 1 };
    assert_eq!(unanswered(&accepted).verdict, Verdict::Sent { provider_id: None });
    let gone = RequestError::TooLarge { status: StatusCode::NOT_FOUND, cap: 1 };
    assert!(matches!(unanswered(&gone).verdict, Verdict::Misconfigured { .. }));
}

proptest! {
    #[test]
    fn no_body_makes_it_panic_or_sends_a_refusal(status in 300u16..600, body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let answered = refusal(StatusCode::from_u16(status).unwrap(), None, &body);
        let sent = matches!(answered.verdict, Verdict::Sent { .. });
        prop_assert!(!sent);
    }

    #[test]
    fn without_fcms_own_word_no_status_costs_a_token(status in 300u16..600, body in "\\PC{0,60}") {
        let body = json!({"error": {"message": body, "status": body}}).to_string();
        let verdict = refusal(StatusCode::from_u16(status).unwrap(), None, body.as_bytes()).verdict;
        prop_assert!(fate(&verdict).is_none_or(|token| token == TokenFate::Keep));
    }

    #[test]
    fn what_google_calls_a_failure_of_its_own_is_always_tried_again(status in 500u16..600, body in "\\PC{0,60}") {
        let verdict = refusal(StatusCode::from_u16(status).unwrap(), None, body.as_bytes()).verdict;
        let again = matches!(verdict, Verdict::Unavailable { .. } | Verdict::Failing { .. });
        prop_assert!(again);
    }
}
