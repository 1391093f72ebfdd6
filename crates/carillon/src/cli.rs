//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs, inspects and demonstrates a Carillon installation.
#[derive(Debug, Parser)]
#[command(name = "carillon", version, propagate_version = true)]
#[command(
    after_help = "Settings come from variables CARILLON_<SECTION>__<KEY>, and from --config where a command has it."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring up everything on this machine and stay until Ctrl-C
    ///
    /// Starts a private RabbitMQ and PostgreSQL, the provider simulators and two replicas of every service as child
    /// processes, registers a device, sends a first notification, and writes `.run/dev.json` for callers. What the
    /// environment sets (CARILLON_*) wins over what this command would set; to lists (CARILLON_TLS__EXTRA_CA,
    /// CARILLON_*__ALLOW_HOSTS) it adds its own.
    Dev(Dev),
    /// Bring up everything from nothing, run the demo scenario, print and write its report
    ///
    /// Exits 0 only if all of it happened. Each step is judged by the ledgers of the provider simulators, per token.
    Demo(Demo),
    /// Bring the database schema up to date
    ///
    /// Reads CARILLON_DATABASE__URL. Several processes may migrate at once: they wait for each other.
    Migrate(Configured),
    /// Print every exchange, queue and binding, or the broker's policies
    Topology(Topology),
    /// Judge the configuration without starting anything
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look at messages that could not be handled, and send them back
    Parked {
        #[command(subcommand)]
        command: ParkedCommand,
    },
    /// Keys of the operator
    OperatorKey {
        #[command(subcommand)]
        command: OperatorKeyCommand,
    },
    /// Print the keys of one kind of secret, for a service that is not to hold the master keys
    ///
    /// Derives them from CARILLON_SECRETS__KEY. The service that works with this kind takes them as CARILLON_SECRETS__KIND_KEYS. After
    /// a change of the master keys they are made anew.
    KindKeys(KindKeys),
    /// Send a notification through the public API
    Send(Box<Send>),
}

/// `carillon dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Where data, logs and dev.json are kept, relative to the working directory
    #[arg(long, value_name = "DIR", default_value = ".run")]
    pub(crate) directory: PathBuf,
    /// Start with an empty database and broker instead of what the last run left
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Replicas of every service
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) replicas: u8,
    /// Run the demo scenario and exit, as `carillon demo` does
    #[arg(long, hide = true)]
    pub(crate) demo: bool,
}

/// `carillon demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where data, logs and dev.json are kept, relative to the working directory
    #[arg(long, value_name = "DIR", default_value = ".run")]
    pub(crate) directory: PathBuf,
    /// Where the report is written as JSON
    #[arg(long, value_name = "FILE", default_value = "target/demo.json")]
    pub(crate) report: PathBuf,
}

/// A command that needs nothing but settings.
#[derive(Debug, Args)]
pub(crate) struct Configured {
    /// Settings from a file; the environment wins over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
}

/// `carillon topology`.
#[derive(Debug, Args)]
pub(crate) struct Topology {
    /// Print definitions with policies for `rabbitmqctl import_definitions` instead of the table
    #[arg(long)]
    pub(crate) definitions: bool,
    /// The virtual host that the policies are for
    #[arg(long, value_name = "NAME", default_value = "/", requires = "definitions")]
    pub(crate) vhost: String,
}

/// `carillon config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Judge the settings as every service would; exit 64 and name all faults if one refuses
    ///
    /// Looks at the names of sections itself, then asks each service's binary beside this one (`SERVICE --check`).
    Check(ConfigCheck),
}

/// `carillon config check`.
#[derive(Debug, Args)]
pub(crate) struct ConfigCheck {
    /// Settings from a file; the environment wins over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Only these services; all of them when absent
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `carillon parked`.
#[derive(Debug, Subcommand)]
pub(crate) enum ParkedCommand {
    /// List parked messages, oldest first; bodies are not shown, they may hold personal data
    ///
    /// After them, where CARILLON_DATABASE__URL is set: pushes that the ledger grants no more, because whoever sent them did not survive it.
    List(ParkedList),
    /// Send parked messages back to the queues they came from
    ///
    /// Without a filter also what the ledger has set aside, where CARILLON_DATABASE__URL is set.
    Replay(ParkedReplay),
}

/// `carillon parked list`.
#[derive(Debug, Args)]
pub(crate) struct ParkedList {
    /// Settings from a file; the environment wins over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Most messages to look at
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

/// `carillon parked replay`.
#[derive(Debug, Args)]
pub(crate) struct ParkedReplay {
    /// Settings from a file; the environment wins over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Only messages that came from this queue
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Only the message with this id
    #[arg(long, value_name = "ID")]
    pub(crate) message_id: Option<String>,
    /// Most messages to look at
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
}

/// `carillon operator-key`.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorKeyCommand {
    /// Make a key (cak_...) and print it once
    ///
    /// Only its hash is kept, in the database that CARILLON_DATABASE__URL names.
    Create(OperatorKeyCreate),
}

/// `carillon operator-key create`.
#[derive(Debug, Args)]
pub(crate) struct OperatorKeyCreate {
    /// Settings from a file; the environment wins over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// A name for people, to recognise the key by
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
}

/// `carillon kind-keys`.
#[derive(Debug, Args)]
pub(crate) struct KindKeys {
    /// Which secrets: a platform's credentials, or those of SMS gateways
    #[arg(value_name = "KIND")]
    pub(crate) kind: Kind,
    /// Settings from a file; the environment wins over it
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
}

/// A kind of secret that has keys of its own.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Of dispatcher-apns
    Apns,
    /// Of dispatcher-fcm
    Fcm,
    /// Of dispatcher-webpush
    Webpush,
    /// Of sms-cascade
    Sms,
}

impl Kind {
    /// The name that the keys are derived with.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::Webpush => "webpush",
            Self::Sms => "sms",
        }
    }
}

/// `carillon send`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("audience").required(true).multiple(true).args(["user", "device", "phone", "all", "condition"])))]
pub(crate) struct Send {
    /// Where URL, key and app are taken from unless given here
    #[arg(long, value_name = "FILE", default_value = ".run/dev.json")]
    pub(crate) manifest: PathBuf,
    /// Base URL of the API
    #[arg(long, value_name = "URL")]
    pub(crate) http: Option<String>,
    /// A tenant's key with the scope `send` (csk_...)
    #[arg(long, value_name = "KEY", env = "CARILLON_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The app
    #[arg(long, value_name = "APP")]
    pub(crate) app: Option<String>,
    /// A user; may be given again
    #[arg(long, value_name = "ID")]
    pub(crate) user: Vec<String>,
    /// A device; may be given again
    #[arg(long, value_name = "ID")]
    pub(crate) device: Vec<String>,
    /// A phone number in E.164; may be given again
    #[arg(long, value_name = "NUMBER")]
    pub(crate) phone: Vec<String>,
    /// Everybody in the app
    #[arg(long)]
    pub(crate) all: bool,
    /// Only devices of which this is true; alone, of everybody in the app
    ///
    /// Such as "tags has 'vip' and attributes.age >= 18"
    #[arg(long = "where", value_name = "CONDITION")]
    pub(crate) condition: Option<String>,
    /// The title
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: String,
    /// The text below it
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// A URL that a tap opens
    #[arg(long, value_name = "URL")]
    pub(crate) open: Option<String>,
    /// Repeating the call with the same key sends nothing twice
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until nothing is queued any more and print the counts
    #[arg(long)]
    pub(crate) wait: bool,
}
