//! Cancelling: the row is flipped, everybody reads it, and what is open is closed in pages behind it (the scan).

use crate::{Result, Store};
use carillon_domain::ids::{NotificationId, TenantKey};
use carillon_domain::notification::State;
use carillon_failpoint::Point;

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled, now or before.
    Done,
    /// Nothing is left to cancel.
    Finished,
    /// There is no such notification.
    Absent,
}

/// A run that never started has nothing to close; else the closing is due now. What waits for its turn behind an expansion
/// sees the row as that one leaves it.
const CANCEL: &str = "
    UPDATE notifications n SET state = 4, epoch = n.epoch + 1,
        due_at = CASE WHEN n.run_id IS NOT NULL THEN now() END,
        finished_at = CASE WHEN n.run_id IS NULL THEN now() END
    FROM apps a
    WHERE n.tenant_key = $1 AND n.notification_id = $2 AND a.app_key = n.app_key AND ($3::text[] IS NULL OR a.app = ANY($3))
      AND (n.state = 1 OR n.state = 2 AND NOT (n.expanded
          AND n.pushes <= (SELECT coalesce(sum(c.suppressed + c.cancelled + c.expired + c.unknown + c.failed + c.sent), 0)
                           FROM run_counters c WHERE c.run_id = n.run_id AND c.channel = 1)
          AND NOT EXISTS (SELECT 1 FROM cascades w WHERE w.run_id = n.run_id AND w.state IN (1, 2))))";

const STATE: &str = "
    SELECT n.state FROM notifications n JOIN apps a ON a.app_key = n.app_key
    WHERE n.tenant_key = $1 AND n.notification_id = $2 AND ($3::text[] IS NULL OR a.app = ANY($3))";

impl Store {
    /// Cancels what was not sent yet of a notification of a tenant, of `only` these apps if given. Effective at once: claims,
    /// reports, cascades and the scan read the row. A request that is under way at a provider finishes.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] when the database is away.
    pub async fn cancel_notification(
        &self,
        tenant: TenantKey,
        id: NotificationId,
        only: Option<&[String]>,
    ) -> Result<Cancelled> {
        if self.write_count(Point::CancelCommit, CANCEL, &[&tenant.0, &id.0, &only]).await? > 0 {
            return Ok(Cancelled::Done);
        }
        let row = self.maybe_row(STATE, &[&tenant.0, &id.0, &only]).await?;
        Ok(match row.map(|row| State::from_number(row.get(0))) {
            None => Cancelled::Absent,
            Some(Some(State::Cancelled)) => Cancelled::Done,
            Some(_) => Cancelled::Finished,
        })
    }
}
