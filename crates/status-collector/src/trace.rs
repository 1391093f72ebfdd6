//! The end of a notification's trace: its statuses are committed.

use carillon_telemetry::RemoteContext;
use carillon_telemetry::names::field;
use carillon_wire::internal::ChunkReport;
use tracing::Span;
use uuid::Uuid;

/// The spans of the commits that reports wait for, each in its own notification's trace, as far as it is recorded. They last
/// until they are dropped, which belongs behind the commit.
pub(crate) fn commits(reports: &[ChunkReport]) -> Vec<Span> {
    let traced = reports.iter().filter(|report| !report.traceparent.is_empty());
    traced.map(commit).collect()
}

fn commit(report: &ChunkReport) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "commit statuses",
        otel.kind = "server",
        { field::RUN_ID } = %Uuid::from_slice(&report.run_id).unwrap_or_default(),
        { field::CHUNK_ID } = report.chunk,
        outcomes = report.outcomes.len(),
    );
    RemoteContext::from_traceparent(&report.traceparent).continue_in(&span);
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reports_that_carry_a_trace_make_a_span() {
        let of = |traceparent: &str| ChunkReport { traceparent: traceparent.to_owned(), ..Default::default() };
        let traced = of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(commits(&[of(""), traced, of("")]).len(), 1);
    }
}
