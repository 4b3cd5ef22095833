//! What containerd still has on record.

use anyhow::Result;
use futures::future::try_join_all;

use crate::bed::Bed;

/// Containers and snapshots in both namespaces that cases use. Those of the
/// images are constant.
pub(super) async fn list(bed: &Bed) -> Result<Vec<String>> {
    let questions = [
        ("default", "containers"),
        ("default", "snapshots"),
        ("k8s.io", "containers"),
        ("k8s.io", "snapshots"),
    ];
    let answers = questions.map(|(namespace, what)| ask(bed, namespace, what));
    Ok(try_join_all(answers).await?.concat())
}

async fn ask(bed: &Bed, namespace: &str, what: &str) -> Result<Vec<String>> {
    let table = bed.ctr_in(namespace).done(&[what, "list"]).await?;
    let names = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    Ok(names
        .map(|name| format!("{namespace}/{what} {name}"))
        .collect())
}
