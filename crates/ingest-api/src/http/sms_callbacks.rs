//! `/v1/callbacks/sms/{secret}`: what SMS gateways report. The path holds a secret; nothing here or around it logs a path.
//!
//! SMSAPI reports many messages at once: every parameter is a list with commas, the n-th entries belong together. It repeats a
//! report until the answer's body is `OK`, so that word comes only after the commit.

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use carillon_domain::delivery_status::{Reason, Status};
use carillon_store::{SmsReference, SmsReport};
use http::{HeaderValue, header};
use jiff::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::read_body;
use super::frame::Frame;
use super::problem::Problem;
use crate::ingest::Shared;
use crate::refusal::Refusal;

/// Bytes of a report in a body.
const BODY_BYTES: usize = 256 * 1024;
/// Messages of one report; the rest is left aside.
const MESSAGES: usize = 1_000;
/// Bytes of a gateway's id of a message.
const ID_BYTES: usize = 128;
/// Lengths of secrets that may be one of ours.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(report_by_get)).routes(routes!(report_by_post))
}

/// Takes delivery reports as parameters of the URL.
#[utoipa::path(get, path = "/v1/callbacks/sms/{secret}", tag = "sms", params(("secret" = String, Path)),
    responses((status = 200, description = "`OK`: kept", content_type = "text/plain")))]
async fn report_by_get(
    State(ingest): State<Shared>,
    Path(secret): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    keep(&ingest, &secret, query.unwrap_or_default().as_bytes()).await
}

/// Takes delivery reports as a form.
#[utoipa::path(post, path = "/v1/callbacks/sms/{secret}", tag = "sms", params(("secret" = String, Path)),
    responses((status = 200, description = "`OK`: kept", content_type = "text/plain")))]
async fn report_by_post(
    State(ingest): State<Shared>,
    Path(secret): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let frame = parts.extensions.get::<Frame>().ok_or_else(Refusal::internal)?;
    let body = read_body(&parts.headers, body, BODY_BYTES, frame).await?;
    let form = if body.is_empty() { query.unwrap_or_default().into_bytes() } else { body.to_vec() };
    keep(&ingest, &secret, &form).await
}

async fn keep(ingest: &Shared, secret: &str, form: &[u8]) -> Result<Response, Problem> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !SECRET_BYTES.contains(&secret.len()) || !secret.bytes().all(fits) {
        return Err(Refusal::not_found().into());
    }
    let owner = ingest.store.sms_gateway_of_callback(secret).await?;
    let (tenant, _kind) = owner.ok_or_else(Refusal::not_found)?;
    let (reports, strange) = read(form);
    let reported = ingest.store.record_sms_reports(tenant, &reports, ingest.slot).await?;
    let unknown = reports.len() - reported.known + strange;
    if unknown > 0 {
        // Messages that the account sent by other ways report here too.
        tracing::debug!(unknown, "delivery reports that are not about messages of ours");
    }
    if !reported.finished.ended_runs.is_empty()
        && let Err(error) = ingest.store.finish_runs(&reported.finished.ended_runs).await
    {
        // What was reported is committed; the runs are found finished by the scan.
        tracing::debug!(%error, "runs are found finished later");
    }
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], "OK").into_response())
}

/// Reports about messages of ours, and how many entries name something else.
fn read(form: &[u8]) -> (Vec<SmsReport>, usize) {
    let mut lists: [Vec<String>; 4] = Default::default();
    for (name, value) in form_urlencoded::parse(form) {
        let place = match &*name {
            "idx" => 0,
            "status" => 1,
            "MsgId" => 2,
            "donedate" => 3,
            _ => continue,
        };
        lists[place] = value.split(',').take(MESSAGES).map(|entry| entry.trim().to_owned()).collect();
    }
    let [references, statuses, ids, dates] = lists;
    let entry = |list: &[String], i: usize| list.get(i).filter(|text| !text.is_empty()).cloned();
    let (mut reports, mut strange) = (Vec::new(), 0);
    for (i, text) in references.iter().enumerate() {
        let Some(reference) = SmsReference::parse(text) else {
            strange += usize::from(!text.is_empty());
            continue;
        };
        let Some((status, reason)) = entry(&statuses, i).and_then(|number| meaning(&number)) else { continue };
        let provider_id = entry(&ids, i).filter(|id| id.len() <= ID_BYTES && !id.contains('\0'));
        let at = entry(&dates, i).and_then(|date| Timestamp::from_second(date.parse().ok()?).ok());
        reports.push(SmsReport { reference, status, reason, provider_id, at });
    }
    (reports, strange)
}

/// SMSAPI's numbers. Nothing for those that say nothing new: not found, unknown, stopped before it was sent.
fn meaning(number: &str) -> Option<(Status, Option<Reason>)> {
    match number {
        // On its way, queued, with the operator, tried again.
        "403" | "409" | "410" | "411" => Some((Status::Sent, None)),
        "404" => Some((Status::Delivered, None)),
        "402" => Some((Status::Undelivered, Some(Reason::Ttl))),
        "405" => Some((Status::Undelivered, Some(Reason::Unknown))),
        "406" | "407" | "412" => Some((Status::Undelivered, Some(Reason::ProviderRejected))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::ids::RunId;
    use carillon_store::CascadeId;
    use proptest::prelude::*;

    fn idx(person_number: i32) -> String {
        SmsReference(CascadeId { run: RunId(uuid::Uuid::from_u128(7)), link: 1, person_number }).to_text()
    }

    #[test]
    fn the_n_th_entries_of_all_lists_belong_together() {
        let form = format!(
            "MsgId=A,B,C,D&status=404,405,408,402&status_name=DELIVERED,x,y,z&idx={},{},{},foreign&donedate=17,,19,20&username=u",
            idx(1),
            idx(2),
            idx(3),
        );
        let (reports, strange) = read(form.as_bytes());
        let seen: Vec<_> = reports
            .iter()
            .map(|r| (r.reference.0.person_number, r.status, r.provider_id.as_deref(), r.at.map(|at| at.as_second())))
            .collect();
        assert_eq!(
            seen,
            [(1, Status::Delivered, Some("A"), Some(17)), (2, Status::Undelivered, Some("B"), None)],
            "unknown says nothing"
        );
        assert_eq!(strange, 1);
    }

    #[test]
    fn escaped_commas_separate_like_plain_ones() {
        let form = format!("status=404%2C403&idx={}%2C{}", idx(1), idx(2));
        let statuses: Vec<Status> = read(form.as_bytes()).0.iter().map(|r| r.status).collect();
        assert_eq!(statuses, [Status::Delivered, Status::Sent]);
    }

    #[test]
    fn a_report_longer_than_the_bound_is_cut() {
        let form =
            format!("idx={}&status={}", vec![idx(1); MESSAGES + 5].join(","), vec!["404"; MESSAGES + 5].join(","));
        assert_eq!(read(form.as_bytes()).0.len(), MESSAGES);
    }

    proptest! {
        #[test]
        fn no_form_makes_it_panic(form in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&form);
        }
    }
}
