//! What stands between Envoy and the server: it counts, holds, delays and cuts.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::ports::free_port;

pub(crate) struct Gate {
    pub(crate) port: u16,
    controls: watch::Sender<Controls>,
    /// By connection, oldest first: bytes from the server.
    received: Arc<Mutex<Vec<Arc<AtomicU64>>>>,
    _passing: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Controls {
    /// What the client says is kept back.
    hold: bool,
    /// What the client says comes late, by up to so many milliseconds.
    delay: u64,
    /// Connections opened before a change of this are closed.
    cuts: u32,
}

impl Gate {
    pub(crate) async fn before(server: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let controls = watch::Sender::new(Controls::default());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (watch, counts) = (controls.subscribe(), Arc::clone(&received));
        let mut passing = JoinSet::new();
        passing.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let count = Arc::new(AtomicU64::new(0));
                counts.lock().unwrap().push(Arc::clone(&count));
                connections.spawn(pass(client, server, count, watch.clone()));
            }
        });
        Self {
            port,
            controls,
            received,
            _passing: passing,
        }
    }

    pub(crate) fn hold(&self) {
        self.controls.send_modify(|controls| controls.hold = true);
    }

    pub(crate) fn release(&self) {
        self.controls.send_modify(|controls| controls.hold = false);
    }

    pub(crate) fn delay(&self, at_most: Duration) {
        let delay = u64::try_from(at_most.as_millis()).unwrap();
        self.controls.send_modify(|controls| controls.delay = delay);
    }

    /// Closes what is open. Envoy comes again by itself.
    pub(crate) fn cut(&self) {
        self.controls.send_modify(|controls| controls.cuts += 1);
    }

    pub(crate) fn connections(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// How many bytes the server has sent on the newest connection.
    pub(crate) fn received(&self) -> u64 {
        let received = self.received.lock().unwrap();
        let newest = received.last();
        newest.map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

async fn pass(
    client: TcpStream,
    server: u16,
    count: Arc<AtomicU64>,
    mut controls: watch::Receiver<Controls>,
) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let cuts = controls.borrow().cuts;
    let requests = requests(from_client, to_server, controls.clone());
    // Whichever side ends first ends the whole.
    tokio::select! {
        _ = requests => {}
        _ = responses(from_server, to_client, &count) => {}
        _ = controls.wait_for(|controls| controls.cuts != cuts) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut controls: watch::Receiver<Controls>,
) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    for turn in 1_u64.. {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        let open = controls.wait_for(|controls| !controls.hold).await;
        let delay = open.map_or(0, |controls| controls.delay);
        if delay > 0 {
            // Knuth's multiplicative hash: any, but the same in each run.
            let spread = turn.wrapping_mul(2_654_435_761) >> 16;
            sleep(Duration::from_millis(spread % (delay + 1))).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
    Ok(())
}

async fn responses(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
        to.write_all(&buffer[..length]).await?;
    }
}
