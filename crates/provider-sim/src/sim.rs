//! Starting and stopping.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::Error;
use crate::apns::{Door, Environment};
use crate::config::Config;
use crate::control;
use crate::controls::{Controls, Urls};
use crate::fcm;
use crate::listener::{Connections, Serve, listen};
use crate::reply::Provider;
use crate::serve::Http;
use crate::sms::Sms;
use crate::state::State;
use crate::tls::Authority;
use crate::webpush;

/// Streams per connection where nobody asked for a number.
const USUAL_STREAMS: u32 = 100;

/// A running simulator of all providers. It stops when it is dropped.
pub struct Sim {
    controls: Controls,
}

impl Deref for Sim {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.controls.state.tasks.cancel();
    }
}

/// A listener that has its port but serves nothing yet.
struct Bound {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    port: u16,
}

impl Bound {
    async fn new(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, tls, port })
    }

    fn url(&self, host: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}:{}", self.port)
    }

    fn serve<S: Serve>(self, state: &State, connections: &Arc<Connections>, server: S) {
        listen(&state.tasks, self.listener, self.tls, Arc::clone(connections), server);
    }
}

impl Sim {
    /// Makes the authority, binds every listener and serves. Needs a Tokio runtime, on which it stays.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let authority = Authority::generate(&config.public_host)?;
        if let Some(path) = &config.ca_path {
            std::fs::write(path, authority.pem()).map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        let h2 = authority.server(&[b"h2"])?;
        let both = authority.server(&[b"h2", b"http/1.1"])?;
        let ca_pem: Arc<str> = authority.pem().into();
        let state = Arc::new(State::new(&config, authority)?);

        let tls = |wanted: bool, tls: &Arc<ServerConfig>| wanted.then(|| Arc::clone(tls));
        let control = Bound::new(config.control, None).await?;
        let apns = Bound::new(config.apns.address, tls(config.apns.tls, &h2)).await?;
        let sandbox = Bound::new(config.apns_sandbox.address, tls(config.apns_sandbox.tls, &h2)).await?;
        let fcm = Bound::new(config.fcm.address, tls(config.fcm.tls, &both)).await?;
        let fcm_token = Bound::new(config.fcm_token, tls(true, &both)).await?;
        let webpush = Bound::new(config.webpush, tls(true, &both)).await?;
        let sms = Bound::new(config.sms.address, tls(config.sms.tls, &both)).await?;

        let host = config.public_host.as_str();
        let urls = Urls {
            control: control.url(host),
            ledger: control.url(host),
            apns: apns.url(host),
            apns_sandbox: sandbox.url(host),
            fcm: fcm.url(host),
            fcm_token: format!("{}{}", fcm_token.url(host), fcm::TOKEN_PATH),
            webpush: webpush.url(host),
            sms: sms.url(host),
        };
        state.fcm.set_token_uri(urls.fcm_token.clone());
        state.webpush.set_origin(urls.webpush.clone());

        for (bound, environment) in [(apns, Environment::Production), (sandbox, Environment::Sandbox)] {
            let door = Door {
                state: Arc::clone(&state),
                environment,
                max_streams: config.apns_streams,
                one_stream_until_valid: config.apns_one_stream_until_valid,
            };
            bound.serve(&state, state.connections(Provider::Apns), door);
        }
        let send = Http::new(fcm::Send::new(Arc::clone(&state)), config.fcm_streams);
        fcm.serve(&state, state.connections(Provider::Fcm), send);
        let endpoint = Http::new(fcm::TokenEndpoint::new(Arc::clone(&state)), USUAL_STREAMS);
        fcm_token.serve(&state, state.connections(Provider::FcmToken), endpoint);
        let push = Http::new(webpush::Push::new(Arc::clone(&state)), USUAL_STREAMS);
        webpush.serve(&state, state.connections(Provider::Webpush), push);
        let gateway = Http::new(Sms::new(Arc::clone(&state)), USUAL_STREAMS);
        sms.serve(&state, state.connections(Provider::Sms), gateway);

        let controls = Controls { state: Arc::clone(&state), urls: Arc::new(urls), ca_pem };
        let router = control::router(controls.clone());
        state.tasks.spawn(async move {
            // It ends with the listener, which nothing closes but the stop.
            let _ = axum::serve(control.listener, router).await;
        });
        Ok(Self { controls })
    }

    /// Stops, and waits until every connection is closed, at most five seconds.
    pub async fn stop(self) {
        self.controls.state.tasks.stop().await;
    }
}
