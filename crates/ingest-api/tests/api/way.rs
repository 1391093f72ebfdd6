//! A way to a server that can be closed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Ends with the value.
pub(crate) struct Way {
    url: String,
    open: watch::Sender<bool>,
    turned_away: Arc<AtomicUsize>,
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
        let turned_away = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, open.subscribe(), Arc::clone(&turned_away)));
        Self { url, open, turned_away, _task: task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Breaks every connection and lets none through, or lets them through again.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Connections that came while it was closed.
    #[allow(dead_code, reason = "who only closes it for good does not ask")]
    pub(crate) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, open: watch::Receiver<bool>, turned_away: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let (mut open, turned_away) = (open.clone(), Arc::clone(&turned_away));
        connections.spawn(async move {
            if !*open.borrow_and_update() {
                turned_away.fetch_add(1, Ordering::SeqCst);
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
