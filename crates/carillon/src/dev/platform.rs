//! The whole installation: stack, schema, simulators, services.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::environment::Operator;
use super::fleet::{Fleet, Replica, SERVICES};
use super::keys::Keys;
use super::layout::Layout;
use super::manifest::{Manifest, Published, SimUrls};
use super::onboard::Tenant;
use super::ports::Ports;
use super::simulators;
use super::stack::Stack;
use crate::http::Http;
use crate::settings;
use crate::sim::Sim;

/// What kind of run it is.
pub(crate) struct Options {
    pub(crate) layout: Layout,
    /// With an empty database and broker.
    pub(crate) fresh: bool,
    pub(crate) replicas: u8,
    /// Further settings for every service, below the operator's.
    pub(crate) extra: Vec<(String, String)>,
}

/// Everything that runs.
pub(crate) struct Platform {
    options: Options,
    operator: Operator,
    /// Held for as long as this run lives.
    _lock: File,
    stack: Option<Stack>,
    fleet: Fleet,
    running: Option<Running>,
    published: Option<Published>,
}

/// What is known once it runs.
struct Running {
    keys: Keys,
    amqp_url: String,
    database_url: String,
    http: String,
    grpc: String,
    sim: Sim,
}

impl Platform {
    /// Nothing is started yet.
    ///
    /// # Errors
    /// If another run holds the directory.
    pub(crate) fn new(options: Options) -> Result<Self> {
        let path = options.layout.run.join("dev.lock");
        let lock = File::options().create(true).append(true).open(&path).context("the lock of the run directory")?;
        if lock.try_lock().is_err() {
            bail!("{} is in use: another `make run` or `make demo` is up", options.layout.run.display());
        }
        // A run that was killed could not remove what is not true any more.
        let _ = std::fs::remove_file(options.layout.manifest());
        let fleet = Fleet::new(&options.layout)?;
        let operator = Operator::of_process();
        Ok(Self { options, operator, _lock: lock, stack: None, fleet, running: None, published: None })
    }

    /// Brings everything up.
    ///
    /// # Errors
    /// What did not come up, and why. Call [`Platform::stop`] in any case.
    pub(crate) async fn start(&mut self) -> Result<()> {
        let began = Instant::now();
        std::fs::create_dir_all(&self.options.layout.stack)?;
        let (amqp_url, database_url) = self.start_stack().await?;
        let keys = Keys::of(&self.options.layout, self.options.fresh, &self.operator)?;
        let applied = settings::store_at(&database_url)?.migrate().await.context("the schema")?;
        println!("schema: {} migrations applied", applied.len());
        let sim = simulators::start(&self.options.layout, &mut self.fleet).await?;
        println!("provider simulators: {}", sim.urls.control);
        let mut running = Running { keys, amqp_url, database_url, http: String::new(), grpc: String::new(), sim };
        self.start_services(&mut running)?;
        println!("services: {} processes started, waiting until they are ready", self.fleet.replicas().len());
        self.fleet.ready().await?;
        println!("ready after {:.1} s: {}", began.elapsed().as_secs_f64(), running.http);
        self.running = Some(running);
        Ok(())
    }

    /// The operator's own broker and database are used where both are named.
    async fn start_stack(&mut self) -> Result<(String, String)> {
        let names = ["CARILLON_AMQP__URL", "CARILLON_DATABASE__URL"];
        let theirs = names.map(|name| self.operator.get(name).map(str::to_owned));
        if let [Some(amqp), Some(database)] = theirs {
            println!("broker and database: the ones that the environment names");
            return Ok((amqp, database));
        }
        let stack = Stack::new(&self.options.layout);
        self.stack = Some(stack.clone());
        let env = stack.start(self.options.fresh).await?;
        let [amqp, database] = names.map(|name| {
            let theirs = self.operator.get(name).map(str::to_owned);
            theirs.or_else(|| env.get(name).cloned()).with_context(|| format!("stack.env has no {name}"))
        });
        Ok((amqp?, database?))
    }

    fn start_services(&mut self, running: &mut Running) -> Result<()> {
        let mut ports = Ports::default();
        let replicas = usize::from(self.options.replicas);
        let mut addresses = || (0..replicas).map(|_| ports.address()).collect::<Result<Vec<_>>>();
        let (mut http, mut grpc, ledgers) = (addresses()?, addresses()?, addresses()?);
        for (name, chosen) in [("CARILLON_HTTP__LISTEN", &mut http), ("CARILLON_GRPC__LISTEN", &mut grpc)] {
            if let Some(theirs) = self.operator.get(name).filter(|theirs| !theirs.ends_with(":0")) {
                theirs.clone_into(&mut chosen[0]);
            }
        }
        (running.http, running.grpc) = (url_of(&http[0]), url_of(&grpc[0]));
        for service in SERVICES {
            for index in 0..replicas {
                let mut own = self.common(running, &ledgers);
                own.push(setting("ADMIN__LISTEN", &ports.address()?));
                match service {
                    "status-collector" => own.push(setting("INTERNAL__LISTEN", &ledgers[index])),
                    "ingest-api" => {
                        own.extend([setting("HTTP__LISTEN", &http[index]), setting("GRPC__LISTEN", &grpc[index])]);
                    }
                    _ => {}
                }
                let environment = self.operator.merged(&own);
                self.fleet.spawn_replica(service, index + 1, &self.options.layout, environment)?;
            }
        }
        Ok(())
    }

    /// What all services get; each reads the sections that are its own.
    fn common(&self, running: &Running, ledgers: &[String]) -> Vec<(String, String)> {
        let urls = &running.sim.urls;
        let ledgers: Vec<String> = ledgers.iter().map(|address| url_of(address)).collect();
        let ca = simulators::certificate(&self.options.layout);
        let ours = [
            setting("AMQP__URL", &running.amqp_url),
            setting("DATABASE__URL", &running.database_url),
            setting("SECRETS__KEY", &running.keys.secrets),
            setting("OPERATOR__KEY", &running.keys.operator),
            setting("INTERNAL__TOKEN", &running.keys.internal),
            setting("LEDGER__URL", &ledgers.join(",")),
            setting("TLS__EXTRA_CA", &ca.display().to_string()),
            setting("APNS__PRODUCTION_URL", &urls.apns),
            setting("APNS__SANDBOX_URL", &urls.apns_sandbox),
            setting("FCM__URL", &urls.fcm),
            setting("FCM__ALLOW_HOSTS", authority(&urls.fcm_token)),
            setting("WEBPUSH__ALLOW_HOSTS", authority(&urls.webpush)),
            setting("SMSAPI__URL", &urls.sms),
            setting("HTTP__PUBLIC_URL", &running.http),
            setting("TELEMETRY__LOG_FORMAT", "text"),
        ];
        ours.into_iter().chain(self.options.extra.iter().cloned()).collect()
    }

    /// Ends everything that was started, in the reverse order.
    pub(crate) async fn stop(&mut self) {
        self.published = None;
        self.fleet.stop().await;
        if let Some(stack) = self.stack.take()
            && let Err(error) = stack.stop().await
        {
            eprintln!("carillon: {error:#}");
        }
    }

    /// Writes dev.json; from then on the installation is there for others.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn announce(&mut self, tenant: &Tenant) -> Result<()> {
        let path = self.options.layout.manifest();
        self.published = Some(self.manifest()?.with_tenant(tenant).write(&path)?);
        Ok(())
    }

    fn manifest(&self) -> Result<Manifest> {
        let running = self.running()?;
        let mut admin = BTreeMap::new();
        let mut admin_replicas: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut pids: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for replica in self.fleet.replicas() {
            let name = replica.service.to_owned();
            admin.entry(name.clone()).or_insert_with(|| replica.admin.clone());
            admin_replicas.entry(name.clone()).or_default().push(replica.admin.clone());
            pids.entry(name).or_default().push(replica.pid);
        }
        for (name, pid) in self.fleet.plain() {
            pids.entry((*name).to_owned()).or_default().push(*pid);
        }
        Ok(Manifest {
            http: running.http.clone(),
            grpc: running.grpc.clone(),
            admin,
            admin_replicas,
            amqp_url: running.amqp_url.clone(),
            database_url: running.database_url.clone(),
            operator_key: running.keys.operator.clone(),
            tenant: String::new(),
            app: String::new(),
            server_key: String::new(),
            public_key: String::new(),
            pids,
            sim: SimUrls::from(&running.sim.urls),
        })
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the platform is not up")
    }

    /// The public API, without a key.
    pub(crate) fn http(&self) -> Result<Http> {
        Ok(Http::new(&self.running()?.http))
    }

    /// Base URL of the public gRPC.
    pub(crate) fn grpc_url(&self) -> Result<&str> {
        Ok(&self.running()?.grpc)
    }

    /// The broker.
    pub(crate) fn amqp_url(&self) -> Result<&str> {
        Ok(&self.running()?.amqp_url)
    }

    /// The operator's key.
    pub(crate) fn operator_key(&self) -> Result<&str> {
        Ok(&self.running()?.keys.operator)
    }

    /// The simulators.
    pub(crate) fn sim(&self) -> Result<&Sim> {
        Ok(&self.running()?.sim)
    }

    /// The APNs that the operator put in the simulator's place.
    pub(crate) fn apns_of_operator(&self) -> Option<&str> {
        self.operator.get("CARILLON_APNS__PRODUCTION_URL")
    }

    /// The stack, where it is ours.
    pub(crate) fn stack(&self) -> Result<&Stack> {
        self.stack.as_ref().context("the broker is not ours: CARILLON_AMQP__URL and CARILLON_DATABASE__URL are set")
    }

    /// The replicas of a service.
    pub(crate) fn replicas(&self, service: &str) -> impl Iterator<Item = &Replica> {
        self.fleet.replicas().iter().filter(move |replica| replica.service == service)
    }

    /// As [`Fleet::kill`].
    ///
    /// # Errors
    /// As [`Fleet::kill`].
    pub(crate) async fn kill(&self, service: &str, index: usize) -> Result<()> {
        self.fleet.kill(service, index).await
    }

    /// As [`Fleet::respawn`].
    ///
    /// # Errors
    /// As [`Fleet::respawn`].
    pub(crate) fn respawn(&mut self, service: &str, index: usize) -> Result<()> {
        self.fleet.respawn(service, index)
    }

    /// As [`Fleet::ready`].
    ///
    /// # Errors
    /// As [`Fleet::ready`].
    pub(crate) async fn ready(&self) -> Result<()> {
        self.fleet.ready().await
    }

    /// Until a process ends that should not.
    pub(crate) fn death(&self) -> impl Future<Output = anyhow::Error> + use<> {
        self.fleet.death()
    }

    /// Where things are.
    pub(crate) fn layout(&self) -> &Layout {
        &self.options.layout
    }
}

fn setting(name: &str, value: &str) -> (String, String) {
    (format!("CARILLON_{name}"), value.to_owned())
}

/// A wildcard address is reached over the loopback one.
fn url_of(address: &str) -> String {
    format!("http://{}", address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:"))
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_to_allow_are_taken_from_urls() {
        assert_eq!(authority("https://localhost:4711/token"), "localhost:4711");
        assert_eq!(authority("localhost:1"), "localhost:1");
        assert_eq!(url_of("0.0.0.0:8080"), "http://127.0.0.1:8080");
    }
}
