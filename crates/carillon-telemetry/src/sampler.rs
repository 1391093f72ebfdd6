//! Which traces are recorded.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// A span with a parent does as its parent. A root with links does as what it is linked to, so that the chunks of a
/// recorded notification are recorded too, although each is a trace of its own. Any other root is recorded by ratio.
#[derive(Clone, Debug)]
pub(crate) struct FollowLinks {
    inner: Sampler,
}

impl FollowLinks {
    /// Records this share of the traces that begin here, 0.0 to 1.0.
    pub(crate) fn with_ratio(ratio: f64) -> Self {
        Self { inner: Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))) }
    }
}

impl ShouldSample for FollowLinks {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(|context| context.span().span_context().is_valid());
        if has_parent || links.is_empty() {
            return self.inner.should_sample(parent, trace_id, name, kind, attributes, links);
        }
        let recorded = links.iter().any(|link| link.span_context.is_sampled());
        SamplingResult {
            decision: if recorded { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: TraceState::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn other(flags: TraceFlags) -> SpanContext {
        SpanContext::new(TraceId::from(7), SpanId::from(7), flags, true, TraceState::default())
    }

    fn decide(ratio: f64, parent: Option<TraceFlags>, link: Option<TraceFlags>) -> SamplingDecision {
        let parent = parent.map(|flags| Context::new().with_remote_span_context(other(flags)));
        let links: Vec<Link> = link.map(|flags| Link::new(other(flags), Vec::new(), 0)).into_iter().collect();
        let sampler = FollowLinks::with_ratio(ratio);
        sampler.should_sample(parent.as_ref(), TraceId::from(1), "x", &SpanKind::Consumer, &[], &links).decision
    }

    #[test]
    fn a_parent_decides_then_a_link_then_the_ratio() {
        let (yes, no) = (SamplingDecision::RecordAndSample, SamplingDecision::Drop);
        assert_eq!(decide(1.0, Some(TraceFlags::NOT_SAMPLED), Some(TraceFlags::SAMPLED)), no);
        assert_eq!(decide(0.0, Some(TraceFlags::SAMPLED), Some(TraceFlags::NOT_SAMPLED)), yes);
        assert_eq!(decide(0.0, None, Some(TraceFlags::SAMPLED)), yes);
        assert_eq!(decide(1.0, None, Some(TraceFlags::NOT_SAMPLED)), no);
        assert_eq!(decide(1.0, None, None), yes);
        assert_eq!(decide(0.0, None, None), no);
    }
}
