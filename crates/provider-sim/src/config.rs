//! What a simulator can be told before it starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where the listeners go and how strict they are. Port 0 lets the operating system choose; [`crate::Urls`] tells what it chose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the control interface and the ledger (plain HTTP).
    pub control: SocketAddr,
    /// APNs, production environment.
    pub apns: Listen,
    /// APNs, sandbox environment.
    pub apns_sandbox: Listen,
    /// FCM HTTP v1.
    pub fcm: Listen,
    /// The OAuth 2 token endpoint of FCM; service accounts must have an `https` one, so it is always TLS.
    pub fcm_token: SocketAddr,
    /// The Web Push service; endpoints must be `https`, so it is always TLS.
    pub webpush: SocketAddr,
    /// The SMS gateway.
    pub sms: Listen,
    /// The host that goes into every URL that is handed out; the certificate names it beside `localhost` and `127.0.0.1`.
    pub public_host: String,
    /// Where the authority's certificate is written as PEM, if anywhere.
    pub ca_path: Option<PathBuf>,
    /// Concurrent streams per APNs connection.
    pub apns_streams: u32,
    /// Announce one stream per APNs connection until a first valid token was seen on it, as Apple does.
    pub apns_one_stream_until_valid: bool,
    /// Concurrent streams per FCM connection.
    pub fcm_streams: u32,
    /// Refuse APNs and FCM tokens that were not declared through the control interface.
    pub known_tokens_only: bool,
    /// Look at every accepted push as the device would and write down what breaks the contract.
    pub check_devices: bool,
    /// Bytes of headers and bodies that the ledger keeps; beyond them the oldest are dropped, counts stay.
    pub keep_bytes: usize,
    /// How often a delivery report is tried until the callback answers `OK`.
    pub report_attempts: u32,
    /// Milliseconds before the second try of a delivery report; doubles with each further try, at most 5 s.
    pub report_retry_ms: u64,
    /// PEM of further authorities that delivery report callbacks over `https` may chain to.
    pub report_ca: Option<String>,
}

/// One listener that can speak TLS or plain text (for HTTP/2: with prior knowledge).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address to bind.
    pub address: SocketAddr,
    /// TLS with the simulator's own authority, or plain text.
    pub tls: bool,
}

impl Listen {
    /// TLS on this address.
    pub fn tls(address: SocketAddr) -> Self {
        Self { address, tls: true }
    }

    /// Plain text on this address.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: false }
    }
}

impl Default for Config {
    /// Loopback, ports chosen by the operating system, TLS for the push providers and plain HTTP for SMS.
    fn default() -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            control: any,
            apns: Listen::tls(any),
            apns_sandbox: Listen::tls(any),
            fcm: Listen::tls(any),
            fcm_token: any,
            webpush: any,
            sms: Listen::plain(any),
            public_host: "localhost".to_owned(),
            ca_path: None,
            apns_streams: 1000,
            apns_one_stream_until_valid: false,
            fcm_streams: 100,
            known_tokens_only: false,
            check_devices: true,
            keep_bytes: 256 << 20,
            report_attempts: 10,
            report_retry_ms: 200,
            report_ca: None,
        }
    }
}
