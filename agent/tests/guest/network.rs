//! The guest's network, as the host describes it.

use protocol::agent::{
    Family, Interface, Neighbour, NetworkState, Route, Sysctl, UpdateNetworkRequest,
};

use crate::machine::Shape;
use crate::pod::{Pod, context, sandbox};
use crate::spec;

const ADDRESS: &str = "02:00:00:00:00:07";

fn interface() -> Interface {
    Interface {
        name: "net1".to_owned(),
        hardware_address: ADDRESS.to_owned(),
        mtu: 1400,
        addresses: vec!["10.0.2.15/32".to_owned(), "fd00::15/64".to_owned()],
        ..Default::default()
    }
}

fn route(destination: &str, gateway: &str, family: Family) -> Route {
    Route {
        destination: destination.to_owned(),
        gateway: gateway.to_owned(),
        interface: "net1".to_owned(),
        family: family.into(),
        ..Default::default()
    }
}

fn network(interfaces: Vec<Interface>, routes: Vec<Route>) -> NetworkState {
    NetworkState {
        interfaces,
        routes,
        ..Default::default()
    }
}

fn neighbour() -> Neighbour {
    Neighbour {
        address: "10.0.2.99".to_owned(),
        hardware_address: "02:00:00:00:00:99".to_owned(),
        interface: "net1".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_network_is_the_pods() {
    let mut request = sandbox();
    // The way to the gateway comes after the route that needs it.
    let routes = vec![
        route("", "10.0.2.2", Family::FAMILY_IPV4),
        route("10.0.2.2/32", "", Family::FAMILY_IPV4),
        route("fd00::/64", "", Family::FAMILY_IPV6),
        route("", "fd00::2", Family::FAMILY_IPV6),
    ];
    request.network = Some(NetworkState {
        neighbours: vec![neighbour()],
        ..network(vec![interface()], routes)
    })
    .into();
    let shape = Shape {
        network: Some(ADDRESS),
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, request).await;
    let script = "ip addr; ip route; ip -6 route; ip neigh";
    let (stdout, _, _) = pod
        .output_of("c", &spec::container(spec::shell(script)))
        .await;
    for expected in [
        "lo: <LOOPBACK,UP",
        "net1: <BROADCAST,MULTICAST,UP",
        "mtu 1400",
        "inet 10.0.2.15/32",
        "inet6 fd00::15/64 scope global",
        "default via 10.0.2.2 dev net1",
        "10.0.2.2 dev net1 scope link",
        "default via fd00::2 dev net1",
        "10.0.2.99 dev net1 lladdr 02:00:00:00:00:99",
    ] {
        assert!(
            stdout.contains(expected),
            "{expected:?} is not in:\n{stdout}"
        );
    }
    assert!(!stdout.contains("tentative"), "{stdout}");
    assert_eq!(stdout.matches("\n10.0.2.2 dev net1").count(), 1, "{stdout}");
}

#[tokio::test]
async fn the_network_becomes_what_the_host_says() {
    let mut request = sandbox();
    let routes = vec![
        route("10.0.2.0/24", "", Family::FAMILY_IPV4),
        route("", "10.0.2.2", Family::FAMILY_IPV4),
    ];
    request.network = Some(network(vec![interface()], routes.clone())).into();
    let shape = Shape {
        network: Some(ADDRESS),
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, request).await;
    let mut now = interface();
    now.addresses = vec!["10.0.2.16/32".to_owned()];
    let mut update = UpdateNetworkRequest {
        gone: Some(network(vec![interface()], vec![])).into(),
        present: Some(network(vec![now], routes)).into(),
        ..Default::default()
    };
    // Again: what is gone already is no error.
    for _ in 0..2 {
        pod.agent.update_network(context(), &update).await.unwrap();
    }
    let script = "ip -o addr show net1; ip route";
    let (stdout, _, _) = pod
        .output_of("c", &spec::container(spec::shell(script)))
        .await;
    assert!(stdout.contains("inet 10.0.2.16/32"), "{stdout}");
    assert!(
        !stdout.contains("10.0.2.15") && !stdout.contains("fd00::15"),
        "{stdout}"
    );
    // The kernel had taken it with the last address.
    assert!(stdout.contains("default via 10.0.2.2 dev net1"), "{stdout}");

    // What cannot be keeps nothing else away.
    let impossible = route("", "10.9.9.9", Family::FAMILY_IPV4);
    update.present = Some(NetworkState {
        neighbours: vec![neighbour()],
        ..network(vec![], vec![impossible])
    })
    .into();
    let refused = pod.agent.update_network(context(), &update).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("add route default through net1"),
        "{refused}"
    );
    let (stdout, _, _) = pod
        .output_of("d", &spec::container(spec::shell("ip neigh")))
        .await;
    assert!(stdout.contains("10.0.2.99 dev net1"), "{stdout}");
}

fn sysctl(name: &str, value: &str) -> Sysctl {
    Sysctl {
        name: name.to_owned(),
        value: value.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn settings_of_the_network_are_the_hosts_and_the_pods_win() {
    let mut request = sandbox();
    request.network = Some(network(vec![interface()], vec![])).into();
    request.network_sysctls = vec![
        sysctl("net/ipv4/conf/all/forwarding", "1"),
        sysctl("net/ipv4/conf/net1/forwarding", "0"),
        sysctl("net/ipv4/ip_default_ttl", "77"),
        // The host's kernel may be newer than the guest's.
        sysctl("net/ipv4/of_another_kernel", "1"),
        sysctl("net/core/somaxconn", "99"),
    ];
    let own = ("net.ipv4.ip_default_ttl".to_owned(), "55".to_owned());
    request.sysctls = [own].into();
    let shape = Shape {
        network: Some(ADDRESS),
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, request).await;
    let script = "cd /proc/sys/net; cat ipv4/ip_forward ipv4/conf/net1/forwarding \
                  ipv4/ip_default_ttl core/somaxconn; ip addr show net1";
    let (stdout, _, _) = pod
        .output_of("c", &spec::container(spec::shell(script)))
        .await;
    assert!(stdout.starts_with("1\n0\n55\n99\n"), "{stdout}");
    assert!(stdout.contains("fd00::15/64"), "{stdout}");
}

#[tokio::test]
async fn the_network_reaches_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::thread::spawn(move || {
        use std::io::Write;
        listener.accept().unwrap().0.write_all(b"hello\n").unwrap();
    });
    let mut request = sandbox();
    let routes = vec![
        route("10.0.2.2/32", "", Family::FAMILY_IPV4),
        route("", "10.0.2.2", Family::FAMILY_IPV4),
    ];
    request.network = Some(network(vec![interface()], routes)).into();
    let shape = Shape {
        network: Some(ADDRESS),
        ..Shape::default()
    };
    let mut pod = Pod::boot_with(shape, request).await;
    let process = spec::process(&["nc", "10.0.2.2", &port.to_string()]);
    let (stdout, stderr, _) = pod.output_of("c", &spec::container(process)).await;
    assert_eq!(stdout, "hello\n", "{stderr}");
    answer.join().unwrap();
}
