//! Who holds on to the admin port holds up nothing else.

use std::net::SocketAddr;

use login_pipeline::config::ReaderKind;
use rustix::process::{Resource, getrlimit, setrlimit};
use test_support::crowd::{Crowd, probe};
use tokio::task::spawn_blocking;

use crate::pipeline::support::World;

/// As a kubelet does it, which gives up after several.
async fn is_answered(address: SocketAddr, path: &'static str) -> bool {
    let asked = spawn_blocking(move || (0..5).any(|_| probe(address, path).is_ok_and(|status| status == 200)));
    asked.await.unwrap()
}

#[tokio::test]
async fn a_crowd_at_the_admin_port_holds_up_neither_records_nor_probes() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();

    let world = World::new(ReaderKind::Rskafka, 2).await;
    world.fill(200);
    let pipeline = world.start_alone("crowded").await;
    pipeline.until_ready().await;
    let crowd = Crowd::gather(pipeline.admin, 1_000, 200).unwrap();
    pipeline.until("all of the crowd have come", || crowd.opened() >= 1_200).await;
    for _ in 0..5 {
        world.fill(200);
        world.until_done(&pipeline).await;
        for path in ["/livez", "/readyz"] {
            assert!(is_answered(pipeline.admin, path).await, "{path}");
        }
    }
    world.finish(pipeline).await.0.assert_once();
}
