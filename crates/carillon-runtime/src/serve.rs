//! Servers whose graceful shutdown has an end.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{BoxError, Scope};

/// Runs a server; once `stopping` has fired, the server gets `grace` to end by itself and is then dropped.
///
/// A client that holds a connection open can keep hyper's graceful shutdown waiting for ever (hyperium/hyper issue
/// 4170), so no server of ours is awaited without this. The server must watch the same token itself.
///
/// # Errors
/// What the server ends with; being cut short is logged and is no error.
pub async fn serve_with_grace<E>(
    server: impl Future<Output = Result<(), E>>,
    stopping: CancellationToken,
    grace: Duration,
) -> Result<(), E> {
    let mut server = std::pin::pin!(server);
    tokio::select! {
        result = &mut server => return result,
        () = stopping.cancelled() => {}
    }
    match tokio::time::timeout(grace, server).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(grace_ms = grace.as_millis(), "a server still had open connections, they are cut");
            Ok(())
        }
    }
}

impl Scope {
    /// Runs a server as a task the service cannot live without. `server` is given the token that fires when drain
    /// begins and must shut down gracefully on it; `grace` later it is cut. A server that ends before that is a failure.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn start(scope: &carillon_runtime::Scope, listener: tokio::net::TcpListener, router: axum::Router) {
    /// scope.serve("http", Duration::from_secs(10), |stop| async move {
    ///     axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    /// });
    /// # }
    /// ```
    pub fn serve<F, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        grace: Duration,
        server: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let stopping = self.stopping();
        let server = server(stopping.clone());
        self.spawn::<BoxError>(name, async move {
            serve_with_grace(server, stopping.clone(), grace).await.map_err(Into::into)?;
            match stopping.is_cancelled() {
                true => Ok(()),
                false => Err("the server ended although nobody asked it to".into()),
            }
        });
    }
}
