//! What is shown, one subject per file.

mod cards;
mod clock;
mod container_view;
mod containers;
mod ctr;
mod ctr_exec;
mod deaths;
mod driver;
mod errors;
mod exec;
mod files;
mod host_cgroup;
mod huge_pages;
mod jail;
mod kernel;
mod lifecycle;
mod logs;
mod many;
mod memory_volumes;
mod mounts;
mod network;
mod operator;
mod plugins;
mod pod_life;
mod port_forward;
mod resize;
mod restart;
mod sandbox_api;
mod services;
mod signals;
mod sizing;
mod snapshotters;
mod stop;
mod streams;
mod tuning;
mod unanswered;
mod user_namespace;
mod volumes;
mod written;

use crate::harness::Case;

/// All cases, subject by subject, the slowest last.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let subjects = [
        ctr::CASES,
        ctr_exec::CASES,
        lifecycle::CASES,
        exec::CASES,
        logs::CASES,
        stop::CASES,
        containers::CASES,
        pod_life::CASES,
        streams::CASES,
        signals::CASES,
        container_view::CASES,
        clock::CASES,
        mounts::CASES,
        snapshotters::CASES,
        written::CASES,
        memory_volumes::CASES,
        huge_pages::CASES,
        files::CASES,
        user_namespace::CASES,
        network::CASES,
        plugins::CASES,
        cards::CASES,
        tuning::CASES,
        services::CASES,
        port_forward::CASES,
        restart::CASES,
        sandbox_api::CASES,
        operator::CASES,
        kernel::CASES,
        jail::CASES,
        host_cgroup::CASES,
        sizing::CASES,
        resize::CASES,
        volumes::CASES,
        driver::CASES,
        deaths::CASES,
        unanswered::CASES,
        errors::CASES,
        many::CASES,
    ];
    subjects.into_iter().flatten().copied().flatten()
}
