//! A way to a server that can be closed.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Ends with the value.
pub(crate) struct Way {
    url: String,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Way {
    /// To where the URL leads.
    pub(crate) async fn to(url: &str) -> Self {
        let (before, rest) = url.rsplit_once('@').expect("a URL with a user");
        let (target, path) = rest.split_once('/').expect("a URL with a path");
        let target: SocketAddr = target.parse().expect("an address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("{before}@{}/{path}", listener.local_addr().expect("an address"));
        let open = watch::Sender::new(true);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, open.subscribe()));
        Self { url, open, _task: task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Breaks every connection and lets none through, or lets them through again.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let mut open = open.clone();
        connections.spawn(async move {
            if !*open.borrow_and_update() {
                return;
            }
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}
