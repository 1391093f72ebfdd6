//! Cancelling, the same for REST and gRPC.

use crate::auth::TenantRef;
use crate::ingest::Ingest;
use crate::refusal::Refusal;
use carillon_domain::fault::ErrorCode;
use carillon_domain::ids::NotificationId;
use carillon_store::Cancelled;

/// Cancels a notification of a tenant, of `only` these apps if given. Cancelling twice is fine.
///
/// # Errors
/// `not_found`, `invalid_state` for one that is finished, `unavailable`.
pub(crate) async fn cancel(
    ingest: &Ingest,
    tenant: &TenantRef,
    id: NotificationId,
    only: Option<&[String]>,
) -> Result<(), Refusal> {
    match ingest.store.cancel_notification(tenant.key, id, only).await? {
        Cancelled::Done => Ok(()),
        Cancelled::Finished => Err(Refusal::new(ErrorCode::InvalidState, "The notification is finished.")),
        Cancelled::Absent => Err(Refusal::not_found()),
    }
}
