//! Cancelling, pausing and resuming, the same for REST and gRPC.

use crate::auth::TenantRef;
use crate::ingest::Ingest;
use crate::refusal::Refusal;
use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::NotificationId;
use carillon_domain::notification::State;
use carillon_store::Steered;

/// What is wished of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Cancel,
    Pause,
    Resume,
}

/// Does it with a notification of a tenant, of `only` these apps if given. Twice is fine; so is resuming what is not paused.
///
/// # Errors
/// `not_found`, `invalid_state` for one that is finished, or cancelled and not to be cancelled, `unavailable`.
pub(crate) async fn steer(
    ingest: &Ingest,
    wish: Wish,
    tenant: &TenantRef,
    id: NotificationId,
    only: Option<&[String]>,
) -> Result<(), Refusal> {
    let store = &ingest.store;
    let steered = match wish {
        Wish::Cancel => store.cancel_notification(tenant.key, id, only).await?,
        Wish::Pause => store.pause_notification(tenant.key, id, only).await?,
        Wish::Resume => store.resume_notification(tenant.key, id, only).await?,
    };
    match steered {
        Steered::Done => Ok(()),
        Steered::Over(State::Cancelled) => Err(Refusal::new(ErrorCode::InvalidState, "The notification is cancelled.")),
        Steered::Over(_) => Err(Refusal::new(ErrorCode::InvalidState, "The notification is finished.")),
        Steered::Absent => Err(Refusal::not_found()),
    }
}
