//! What a service gets from the process it runs in.

use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::readiness::{Readiness, ReadyHandle};
use crate::supervisor::Tasks;
use crate::{BoxError, Clock};

/// What a service gets from the process it runs in: supervised tasks, the signal to stop, readiness, the clock. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Scope(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: &'static str,
    tasks: Tasks,
    stopping: CancellationToken,
    readiness: Readiness,
    clock: Clock,
    admin: OnceLock<SocketAddr>,
}

impl Scope {
    pub(crate) fn new(service: &'static str, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            service,
            tasks: Tasks::default(),
            stopping: CancellationToken::new(),
            readiness: Readiness::new(service),
            clock,
            admin: OnceLock::new(),
        }))
    }

    /// Runs a task the service cannot live without. Drain waits for it. If it ends with an error or panics, the process
    /// stops in order and exits with 1; if it ends with `Ok`, its work is done.
    pub fn spawn<E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<BoxError> + Send + 'static,
    {
        self.0.tasks.spawn(name.into(), true, async move { task.await.map_err(Into::into) });
    }

    /// Runs a task the service can live without (one connection, one batch). Drain waits for it; a panic is logged and
    /// goes no further.
    pub fn spawn_helper(&self, name: impl Into<Cow<'static, str>>, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(name.into(), false, async move {
            task.await;
            Ok(())
        });
    }

    /// Fires when drain begins: take no new work, finish what is in flight. Cancelling the token one gets affects
    /// nobody else.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.child_token()
    }

    /// A part without which the service must not get traffic; `/readyz` is 503 until it is set ready.
    pub fn readiness(&self, name: impl Into<Cow<'static, str>>) -> ReadyHandle {
        self.0.readiness.part(name.into(), true)
    }

    /// A dependency that `/readyz` shows but does not judge by: when the broker or the database is away for all
    /// replicas, refusing connections would tell callers less than a 503 with Retry-After does.
    pub fn dependency(&self, name: impl Into<Cow<'static, str>>) -> ReadyHandle {
        self.0.readiness.part(name.into(), false)
    }

    /// The clock of this process.
    pub fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// Name of the service, as given to [`crate::run`].
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// Where the admin port is bound; nothing inside [`crate::TestScope`].
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.0.admin.get().copied()
    }

    pub(crate) fn set_admin_address(&self, address: SocketAddr) {
        let _ = self.0.admin.set(address);
    }

    pub(crate) fn stop(&self) {
        self.0.stopping.cancel();
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn ready(&self) -> &Readiness {
        &self.0.readiness
    }
}
