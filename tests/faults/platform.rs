//! The whole installation: stack, schema, simulators, services, and a proxy on every way between them.

use crate::fleet::{REPLICAS, Replica, SERVICES};
use crate::http::Http;
use crate::options::Size;
use crate::ports::Ports;
use crate::proxy::Proxy;
use crate::settings;
use crate::stack::Stack;
use anyhow::{Context as _, Result};
use carillon_broker::Broker;
use carillon_runtime::CancellationToken;
use provider_sim::Sim;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

/// What of a full run's requests the simulators keep in whole: a million, so that the first of two that are the same is still there to be compared.
const KEPT_IN_FULL: usize = 4 << 30;

/// What lies behind a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Broker,
    Database,
    Ledger,
    Provider,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Database => "database",
            Self::Ledger => "ledger",
            Self::Provider => "provider",
        }
    }
}

/// Everything that runs.
pub(crate) struct Platform {
    pub(crate) stack: Stack,
    pub(crate) sim: Sim,
    /// The simulators as the operator's command reaches them.
    pub(crate) sim_control: crate::sim::Sim,
    pub(crate) replicas: Vec<Replica>,
    /// The public API of each replica.
    pub(crate) http: Vec<Http>,
    /// The same, as `host:port`.
    pub(crate) addresses: Vec<String>,
    /// And its gRPC, as `host:port`.
    pub(crate) grpc: Vec<String>,
    pub(crate) operator_key: String,
    /// The broker and the database, without a proxy between.
    pub(crate) amqp_url: String,
    pub(crate) database_url: String,
    pub(crate) broker: Broker,
    sql: Mutex<Option<Client>>,
    proxies: BTreeMap<(String, Way), Vec<Proxy>>,
    stop: CancellationToken,
}

impl Platform {
    /// Brings everything up, from nothing.
    ///
    /// # Errors
    /// What did not come up, and why.
    pub(crate) async fn start(directory: &Path, size: Size) -> Result<Self> {
        let began = Instant::now();
        std::fs::create_dir_all(directory.join("logs"))?;
        std::fs::create_dir_all(directory.join("stack"))?;
        std::fs::create_dir_all(directory.join("bin"))?;
        for log in std::fs::read_dir(directory.join("logs"))? {
            std::fs::remove_file(log?.path())?;
        }
        let stack = Stack::new(&directory.join("stack"));
        let env = stack.start().await?;
        let url = |name: &str| env.get(name).cloned().with_context(|| format!("stack.env has no {name}"));
        let (amqp_url, database_url) = (url("CARILLON_AMQP__URL")?, url("CARILLON_DATABASE__URL")?);
        let store = carillon_store::Store::open(&carillon_store::Config::new(database_url.clone()), "faults")?;
        store.migrate().await?;
        let ca = directory.join("sim-ca.pem");
        let mut config = provider_sim::Config { ca_path: Some(ca.clone()), ..Default::default() };
        if size == Size::Full {
            config.keep_bytes = KEPT_IN_FULL;
        }
        let sim = Sim::start(config).await?;

        let mut ports = Ports::default();
        let mut addresses = || (0..REPLICAS).map(|_| ports.address()).collect::<Result<Vec<_>>>();
        let (http, grpc, ledgers) = (addresses()?, addresses()?, addresses()?);
        let common = settings::Common::new(&sim, &ca, &http[0])?;
        let mut proxies: BTreeMap<(String, Way), Vec<Proxy>> = BTreeMap::new();
        let mut replicas = Vec::new();
        for service in SERVICES {
            for index in 1..=REPLICAS {
                let mut ways = Ways { name: format!("{service}-{index}"), proxies: &mut proxies };
                let mut environment = common.environment();
                environment.set("AMQP__URL", ways.url(Way::Broker, &amqp_url).await?);
                environment.set("DATABASE__URL", ways.url(Way::Database, &database_url).await?);
                let mut led = Vec::new();
                for ledger in &ledgers {
                    led.push(ways.url(Way::Ledger, &format!("http://{ledger}")).await?);
                }
                environment.set("LEDGER__URL", led.join(","));
                for (key, url) in common.providers() {
                    environment.set(key, ways.url(Way::Provider, url).await?);
                }
                match service {
                    "status-collector" => environment.set("INTERNAL__LISTEN", &ledgers[index - 1]),
                    "ingest-api" => {
                        environment.set("HTTP__LISTEN", &http[index - 1]);
                        environment.set("GRPC__LISTEN", &grpc[index - 1]);
                    }
                    _ => {}
                }
                replicas.push(Replica::start(service, index, &ports.address()?, &environment, directory)?);
            }
        }
        for replica in &replicas {
            replica.ready().await?;
        }
        let stop = CancellationToken::new();
        let config = carillon_broker::Config::new(amqp_url.clone());
        let broker = Broker::connect(&config, "faults", carillon_wire::topology::topology(), stop.clone())?;
        println!("{} processes are ready after {:.1} s", replicas.len(), began.elapsed().as_secs_f64());
        Ok(Self {
            sim_control: crate::sim::Sim::new(serde_json::from_value(serde_json::to_value(sim.urls())?)?),
            addresses: http.clone(),
            http: http.iter().map(|address| Http::new(&format!("http://{address}"))).collect(),
            grpc,
            operator_key: common.operator_key,
            stack,
            sim,
            replicas,
            amqp_url,
            database_url,
            broker,
            sql: Mutex::new(None),
            proxies,
            stop,
        })
    }

    /// Ends everything.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), self.broker.drained()).await;
        drop(self.replicas);
        self.stack.stop().await;
    }

    /// What connections of this program call themselves in the database.
    pub(crate) fn own_connections(&self) -> [&'static str; 2] {
        ["faults", ""]
    }

    /// The replicas of a service.
    pub(crate) fn of(&self, service: &str) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.service == service)
    }

    /// The proxies on one way of one replica.
    pub(crate) fn ways(&self, replica: &Replica, way: Way) -> &[Proxy] {
        self.proxies.get(&(replica.name(), way)).map_or(&[], Vec::as_slice)
    }

    /// Runs a query, on a connection that is made anew when the last one broke.
    ///
    /// # Errors
    /// If the database does not answer, or refuses.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let mut slot = self.sql.lock().await;
        if slot.as_ref().is_none_or(Client::is_closed) {
            let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await?;
            tokio::spawn(connection);
            *slot = Some(client);
        }
        let client = slot.as_ref().context("just made")?;
        Ok(client.query(sql, parameters).await?)
    }

    /// As it was at the start: every process runs and is ready, nothing is in the providers' way.
    ///
    /// # Errors
    /// If a process ended that nobody killed, or does not become ready.
    pub(crate) async fn settle(&self) -> Result<()> {
        for provider in provider_sim::Provider::ALL {
            self.sim.set_conditions(provider, provider_sim::Conditions::default())?;
        }
        self.sim.clear_scripts(None, None);
        for replica in &self.replicas {
            replica.ready().await?;
        }
        self.sim.ledger().clear();
        Ok(())
    }
}

struct Ways<'a> {
    name: String,
    proxies: &'a mut BTreeMap<(String, Way), Vec<Proxy>>,
}

impl Ways<'_> {
    /// The URL with a proxy's port in place of its own.
    async fn url(&mut self, way: Way, url: &str) -> Result<String> {
        let after = url.rfind('@').map_or_else(|| url.find("://").map_or(0, |at| at + 3), |at| at + 1);
        let end = url[after..].find('/').map_or(url.len(), |at| after + at);
        let (host, port) = url[after..end].rsplit_once(':').context("the URL has a port")?;
        let target = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
        let proxy = Proxy::start(target).await?;
        let changed = format!("{}{host}:{}{}", &url[..after], proxy.address().port(), &url[end..]);
        self.proxies.entry((self.name.clone(), way)).or_default().push(proxy);
        Ok(changed)
    }
}
