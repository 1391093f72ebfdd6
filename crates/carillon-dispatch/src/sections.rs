//! What the configuration of every dispatcher has in common, written once. Sections must be fields of one plain struct, so that an
//! unknown key is seen (see `carillon_runtime::config`); so this makes the struct.

/// Makes `Config`, the configuration of a dispatcher: the sections that [`crate::start`] needs, `tls`, and the provider's own, whose type
/// has `Default` and `faults`, as `carillon_runtime::config::ServiceConfig` has it. To be called in a crate that knows `serde`,
/// `carillon_egress` and `carillon_runtime`.
#[macro_export]
macro_rules! sections {
    ($(#[$about:meta])* $own:ident: $Own:ty) => {
        /// All sections that this dispatcher reads.
        #[derive(Debug, ::serde::Deserialize)]
        pub struct Config {
            /// The broker.
            pub amqp: $crate::AmqpConfig,
            /// The engine's bounds.
            #[serde(default)]
            pub dispatch: $crate::DispatchConfig,
            /// Where claims and reports go.
            pub ledger: $crate::LedgerConfig,
            /// How the services know each other.
            pub internal: $crate::InternalConfig,
            /// What opens credentials.
            #[serde(default)]
            pub secrets: $crate::SecretsConfig,
            /// Whom to trust beside the system's authorities.
            #[serde(default)]
            pub tls: ::carillon_egress::TlsConfig,
            $(#[$about])*
            #[serde(default)]
            pub $own: $Own,
        }

        impl Config {
            /// For the engine, for connections, for the provider.
            pub(crate) fn split(self) -> ($crate::Config, ::carillon_egress::TlsConfig, $Own) {
                let Self { amqp, dispatch, ledger, internal, secrets, tls, $own } = self;
                ($crate::Config { amqp, dispatch, ledger, internal, secrets }, tls, $own)
            }
        }

        impl ::carillon_runtime::config::ServiceConfig for Config {
            const SECTIONS: &'static [&'static str] =
                &["amqp", "dispatch", "ledger", "internal", "secrets", "tls", stringify!($own)];
            const WORKER_THREADS: Option<::std::num::NonZeroUsize> = ::std::num::NonZeroUsize::new(1);

            fn faults(&self) -> Vec<(&'static str, String)> {
                let mut faults = self.dispatch.faults();
                faults.extend(self.$own.faults());
                faults
            }
        }
    };
}
