//! Cascade rows: one per (run, person, link), written with the person's chunk.

mod close;
mod due;
mod finish;

pub use close::*;
pub use due::*;
pub use finish::*;

use crate::{DeliveryId, Result};
use carillon_domain::cascade::{CascadeState, Unless};
use carillon_domain::delivery_status::Evidence;
use carillon_domain::ids::RunId;
use carillon_domain::receipt::CascadeEffect;
use deadpool_postgres::{GenericClient, Transaction};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a closed position means for its person's cascade.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CascadeTouch {
    pub run: RunId,
    pub link: i16,
    pub person_number: i32,
    /// Devices that were open and are closed now.
    pub closed: i16,
    pub sent: bool,
    pub fires: bool,
}

/// The first accept starts the clock; `unless: sent` is met by it. When no device is open any more and none was accepted, the
/// cascade goes on at once if one of them ended in a way that fires, else never.
const TOUCH: &str = "
    WITH touched AS (
        SELECT c.run_id, c.link, c.person_number, t.closed, t.sent, t.fires
        FROM unnest($1::uuid[], $2::int2[], $3::int4[], $4::int2[], $5::bool[], $6::bool[])
             AS t(run_id, link, person_number, closed, sent, fires)
        JOIN cascades c ON c.run_id = t.run_id AND c.link = t.link AND c.person_number = t.person_number
        ORDER BY c.run_id, c.link, c.person_number
        FOR UPDATE OF c
    )
    UPDATE cascades c SET
        open_devices = greatest(c.open_devices - t.closed, 0),
        any_sent = c.any_sent OR t.sent,
        any_fires = c.any_fires OR t.fires,
        first_sent_at = CASE WHEN t.sent THEN coalesce(c.first_sent_at, now()) ELSE c.first_sent_at END,
        state = CASE
            WHEN c.state <> 1 THEN c.state
            WHEN t.sent AND c.unless = 1 THEN 4
            WHEN c.open_devices - t.closed <= 0 AND NOT (c.any_sent OR t.sent) AND NOT (c.any_fires OR t.fires) THEN 4
            ELSE c.state END,
        due_at = CASE
            WHEN c.state <> 1 THEN c.due_at
            WHEN t.sent AND c.unless = 1 THEN NULL
            WHEN t.sent AND c.first_sent_at IS NULL THEN now() + c.within_seconds * interval '1 second'
            WHEN c.open_devices - t.closed <= 0 AND NOT (c.any_sent OR t.sent)
                THEN CASE WHEN c.any_fires OR t.fires THEN now() END
            ELSE c.due_at END
    FROM touched t
    WHERE c.run_id = t.run_id AND c.link = t.link AND c.person_number = t.person_number";

/// Tells cascades what became of their persons' devices.
pub(crate) async fn touch_cascades(transaction: &impl GenericClient, touches: &[CascadeTouch]) -> Result<()> {
    if touches.is_empty() {
        return Ok(());
    }
    let mut by_person: BTreeMap<(Uuid, i16, i32), (i16, bool, bool)> = BTreeMap::new();
    for t in touches {
        let entry = by_person.entry((t.run.0, t.link, t.person_number)).or_default();
        *entry = (entry.0.saturating_add(t.closed), entry.1 | t.sent, entry.2 | t.fires);
    }
    let statement = transaction.prepare_cached(TOUCH).await?;
    transaction
        .execute(
            &statement,
            &[
                &by_person.keys().map(|k| k.0).collect::<Vec<_>>(),
                &by_person.keys().map(|k| k.1).collect::<Vec<_>>(),
                &by_person.keys().map(|k| k.2).collect::<Vec<_>>(),
                &by_person.values().map(|v| v.0).collect::<Vec<_>>(),
                &by_person.values().map(|v| v.1).collect::<Vec<_>>(),
                &by_person.values().map(|v| v.2).collect::<Vec<_>>(),
            ],
        )
        .await?;
    Ok(())
}

/// A person's cascades and the evidence that a receipt brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CascadeEvidence {
    pub run: RunId,
    pub person_number: i32,
    pub evidence: Evidence,
}

const LOCK_FOR_RECEIPTS: &str = "
    SELECT c.run_id, c.link, c.person_number, c.unless, c.state
    FROM unnest($1::uuid[], $2::int4[]) AS p(run_id, person_number)
    JOIN cascades c ON c.run_id = p.run_id AND c.person_number = p.person_number
    ORDER BY c.run_id, c.link, c.person_number
    FOR UPDATE OF c";

const STOP: &str = "
    UPDATE cascades c SET state = CASE WHEN s.stop AND c.state = 1 THEN 4 ELSE c.state END,
        due_at = CASE WHEN s.stop AND c.state = 1 THEN NULL ELSE c.due_at END,
        any_read = c.any_read OR s.read
    FROM unnest($1::uuid[], $2::int2[], $3::int4[], $4::bool[], $5::bool[]) AS s(run_id, link, person_number, stop, read)
    WHERE c.run_id = s.run_id AND c.link = s.link AND c.person_number = s.person_number";

/// Stops the cascades that evidence keeps quiet. The row lock decides between a receipt and a claim; the answer says who was first.
pub(crate) async fn stop_cascades(
    transaction: &Transaction<'_>,
    evidence: &[CascadeEvidence],
) -> Result<Vec<CascadeEffect>> {
    let mut persons: BTreeMap<(Uuid, i32), Evidence> = BTreeMap::new();
    for e in evidence {
        let known = persons.entry((e.run.0, e.person_number)).or_default();
        *known = known.join(e.evidence);
    }
    let statement = transaction.prepare_cached(LOCK_FOR_RECEIPTS).await?;
    let runs: Vec<Uuid> = persons.keys().map(|k| k.0).collect();
    let numbers: Vec<i32> = persons.keys().map(|k| k.1).collect();
    let rows = transaction.query(&statement, &[&runs, &numbers]).await?;

    let mut stops: Vec<(Uuid, i16, i32, bool, bool)> = Vec::new();
    let mut states: BTreeMap<(Uuid, i32), Vec<(Unless, CascadeState)>> = BTreeMap::new();
    for row in &rows {
        let (run, link, number): (Uuid, i16, i32) = (row.get(0), row.get(1), row.get(2));
        let unless = Unless::from_number(row.get(3)).ok_or_else(|| crate::Error::corrupt("a cascade's condition"))?;
        let state = CascadeState::from_number(row.get(4)).ok_or_else(|| crate::Error::corrupt("a cascade's state"))?;
        let known = persons.get(&(run, number)).copied().unwrap_or_default();
        if unless.is_met(known) || Unless::Read.is_met(known) {
            stops.push((run, link, number, unless.is_met(known), Unless::Read.is_met(known)));
        }
        states.entry((run, number)).or_default().push((unless, state));
    }
    if !stops.is_empty() {
        let statement = transaction.prepare_cached(STOP).await?;
        transaction
            .execute(
                &statement,
                &[
                    &stops.iter().map(|s| s.0).collect::<Vec<_>>(),
                    &stops.iter().map(|s| s.1).collect::<Vec<_>>(),
                    &stops.iter().map(|s| s.2).collect::<Vec<_>>(),
                    &stops.iter().map(|s| s.3).collect::<Vec<_>>(),
                    &stops.iter().map(|s| s.4).collect::<Vec<_>>(),
                ],
            )
            .await?;
    }
    Ok(evidence.iter().map(|e| effect(states.get(&(e.run.0, e.person_number)), e.evidence)).collect())
}

/// `stopped` while no text goes out to the person, `too_late` when one is under way or was sent, `none` where this evidence keeps nothing quiet.
fn effect(links: Option<&Vec<(Unless, CascadeState)>>, evidence: Evidence) -> CascadeEffect {
    let met: Vec<CascadeState> =
        links.into_iter().flatten().filter(|(unless, _)| unless.is_met(evidence)).map(|(_, state)| *state).collect();
    if met.is_empty() {
        CascadeEffect::None
    } else if met.iter().any(|s| matches!(s, CascadeState::Claimed | CascadeState::Sent | CascadeState::Unknown)) {
        CascadeEffect::TooLate
    } else {
        CascadeEffect::Stopped
    }
}

/// The delivery of a text message to a person.
pub fn sms_delivery(run: RunId, link: i16, person_number: i32) -> DeliveryId {
    DeliveryId { run, subject: DeliveryId::person_subject(person_number), link }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_domain::delivery_status::Status;

    #[test]
    fn a_receipt_is_told_whether_a_text_still_goes_out() {
        let opened = Status::Opened.implied();
        let waiting = vec![(Unless::Read, CascadeState::Waiting)];
        let claimed = vec![(Unless::Read, CascadeState::Claimed)];
        assert_eq!(effect(Some(&waiting), opened), CascadeEffect::Stopped);
        assert_eq!(effect(Some(&claimed), opened), CascadeEffect::TooLate);
        assert_eq!(effect(Some(&waiting), Status::Delivered.implied()), CascadeEffect::None);
        assert_eq!(effect(None, opened), CascadeEffect::None);
    }
}
