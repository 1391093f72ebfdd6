//! Connections: every wait has a deadline, and a connection to a server that was demoted is thrown away.

use crate::commit::within;
use crate::first_word::FirstWord;
use crate::loan::Loan;
use crate::pausing::TakingUp;
use crate::presence::Presence;
use crate::{Config, Error, Result};
use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use secrecy::ExposeSecret;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long making or checking a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection that rested this long is asked before it is used.
const RESTED: Duration = Duration::from_secs(5);
/// How long anything may take that nobody else puts an end to: above what its statements may take together, and its commit.
const LONGEST: Duration = Duration::from_secs(15);
/// A busy connection is asked every so many uses, and plans its statements anew where it keeps plans.
const USES_BETWEEN_CHECKS: usize = 64;

/// The statements of collector and segmenter find their rows by keys. So each is planned for many executions: for a group of reports planning took
/// more time than all else but its deliveries. As such a plan stays while tables grow, it is made again now and then
/// ([`USES_BETWEEN_CHECKS`]), and is kept from what is right for an empty table only: a new week begins with empty ones.
const BY_KEYS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off \
    -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off";

/// The database. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    patience: Duration,
    presence: Presence,
    pub(crate) first_word: Arc<FirstWord>,
    pub(crate) taking_up: Arc<TakingUp>,
}

impl Store {
    /// Prepares the pool; does not wait for the database, so that a process can start before it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the URL or the authority's file cannot be read.
    pub fn open(config: &Config, service: &str) -> Result<Self> {
        Self::open_with(config, service, "")
    }

    /// As [`Store::open`], for the ledger and the segmenter: all that they ask for they find by keys, and it is planned so. What is narrowed by
    /// whatever callers ask for is not for such a store (devices as they register, lists, counts), and neither are the looks for cascades.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_for_work(config: &Config, service: &str) -> Result<Self> {
        Self::open_with(config, service, BY_KEYS)
    }

    fn open_with(config: &Config, service: &str, planning: &str) -> Result<Self> {
        let mut pg = tokio_postgres::Config::from_str(config.url.expose_secret())
            .map_err(|_| Error::Refused("CARILLON_DATABASE__URL is not a postgres:// URL".into()))?;
        pg.application_name(service)
            .connect_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(10))
            .tcp_user_timeout(Duration::from_secs(10))
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .options(format!(
                "-c statement_timeout={} -c idle_in_transaction_session_timeout=10000 -c TimeZone=UTC {planning}",
                config.statement_ms
            ));
        let keeps_plans = planning == BY_KEYS;
        let tls = crate::tls::connector(&mut pg, config.ca.as_deref())?;
        let manager =
            Manager::from_config(pg.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(config.connections.clamp(1, 100))
            .timeouts(Timeouts { wait: Some(config.wait()), create: Some(CONNECT), recycle: Some(CONNECT) })
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::async_fn(move |connection, metrics| {
                let many = metrics.recycle_count % USES_BETWEEN_CHECKS == 0;
                let due = metrics.last_used() > RESTED || many;
                // The pool gives this no deadline: one that answers nothing any more would keep whoever asks for a connection for ever.
                let looking = async move {
                    if due {
                        check_writable(connection).await?;
                    }
                    if many && keeps_plans {
                        connection.batch_execute("DISCARD PLANS").await.map_err(HookError::Backend)?;
                    }
                    Ok(())
                };
                Box::pin(async {
                    let late = |_| Err(HookError::message("the server does not answer"));
                    tokio::time::timeout(CONNECT, looking).await.unwrap_or_else(late)
                })
            }))
            .build()
            .map_err(|e| Error::Refused(e.to_string()))?;
        let patience = Duration::from_millis(config.statement_ms) + CONNECT;
        Ok(Self {
            pool,
            config: pg,
            tls,
            patience,
            presence: Presence::default(),
            first_word: Arc::default(),
            taking_up: Arc::default(),
        })
    }

    /// A connection, for one request or one group.
    pub(crate) async fn connection(&self) -> Result<Loan> {
        Ok(Loan::new(self.pool.get().await?, self.patience))
    }

    /// A connection that may be kept for as long as it takes.
    pub(crate) async fn lasting_connection(&self) -> Result<Object> {
        Ok(self.pool.get().await?)
    }

    /// Does what takes several statements, within [`LONGEST`]: the server ends a statement that takes too long, but says so over a way that may be dead
    /// while something in between still answers for it.
    ///
    /// # Errors
    /// As the work, and [`Error::Unavailable`] when it took too long; its connection is closed then, and with it its transaction.
    pub fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>> {
        // Boxed before anything waits, as such work is large.
        within(LONGEST, Box::pin(work))
    }

    /// How long a statement may take to be answered: the server itself ends it a little earlier.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether others see that this process is alive.
    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// How to make a connection outside the pool, for listening.
    pub(crate) fn outside(&self) -> (&tokio_postgres::Config, MakeRustlsConnect) {
        (&self.config, self.tls.clone())
    }

    /// Whether the database answers and is writable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<()> {
        let connection = self.connection().await?;
        connection.simple_query("SELECT 1").await?;
        Ok(())
    }

    /// Connections: open, idle, and callers waiting. For metrics.
    pub fn pool_status(&self) -> (usize, usize, usize) {
        let status = self.pool.status();
        (status.size, status.available, status.waiting)
    }
}

/// A demoted primary still answers `SELECT 1`, for days; only asking whether it can write finds it out.
async fn check_writable(connection: &mut ClientWrapper) -> std::result::Result<(), HookError> {
    let row = connection.query_one("SELECT pg_is_in_recovery()", &[]).await.map_err(HookError::Backend)?;
    if row.get::<_, bool>(0) { Err(HookError::message("the server is a standby now")) } else { Ok(()) }
}
