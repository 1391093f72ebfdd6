//! A database per test, cloned from a migrated template.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use carillon_store::Store;
use tokio_postgres::{Client, NoTls};

/// Held while the template is made, so that several test processes may start at once.
const LOCK: i64 = 0x696e_6765_7374;

/// A migrated database of this test's own; gone with it.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "where a test finds its server is no setting of a service")]
        let server = std::env::var("CARILLON_DATABASE__URL").expect("CARILLON_DATABASE__URL names a PostgreSQL server");
        let name = format!("ingest_{}", uuid::Uuid::now_v7().simple());
        let template = template(&server).await;
        with(&server, async |client| {
            client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        })
        .await;
        Self { url: on(&server, &name), server, name }
    }

    /// A store on it.
    pub(crate) fn store(&self) -> Store {
        store(&self.url)
    }

    /// Runs statements in it.
    pub(crate) async fn execute(&self, sql: &str) {
        with(&self.url, async |client| client.batch_execute(sql).await.unwrap()).await;
    }

    /// The first column of the rows, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        with(&self.url, async |client| {
            let rows = client.query(sql, &[]).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        })
        .await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(with(&server, async |client| {
                let _ = client.batch_execute("SET statement_timeout = '10s'").await;
                let _ = client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            }));
        });
        let _ = dropping.join();
    }
}

/// The template of exactly these migrations, made by whoever needs it first.
async fn template(server: &str) -> String {
    let name = format!("carillon_template_{:016x}", hash_of_migrations());
    with(server, async |client| {
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.unwrap();
        let known = client.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await.unwrap();
        if known.is_empty() {
            let building = format!("{name}_building");
            client.batch_execute(&format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)")).await.unwrap();
            client.batch_execute(&format!("CREATE DATABASE {building}")).await.unwrap();
            store(&on(server, &building)).migrate().await.unwrap();
            // The pool's connections close behind its back; renaming needs them gone.
            let gone = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
            client.query(gone, &[&building]).await.unwrap();
            client.batch_execute(&format!("ALTER DATABASE {building} RENAME TO {name}")).await.unwrap();
        }
    })
    .await;
    name
}

fn hash_of_migrations() -> u64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../carillon-store/migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}

fn store(url: &str) -> Store {
    let config = carillon_store::Config { connections: 2, wait_ms: 5_000, ..carillon_store::Config::new(url) };
    Store::open(&config, "test").unwrap()
}

/// The same server, another database.
fn on(server: &str, name: &str) -> String {
    let (before, _) = server.rsplit_once('/').unwrap();
    format!("{before}/{name}")
}

/// Works on a connection of its own, which is closed afterwards.
async fn with<T>(url: &str, work: impl AsyncFnOnce(&Client) -> T) -> T {
    let connecting = tokio::time::timeout(Duration::from_secs(10), tokio_postgres::connect(url, NoTls)).await;
    let (client, connection) = connecting.expect("a connection in time").expect("a connection");
    tokio::select! {
        result = work(&client) => result,
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
}
