//! Refusals and notes, each by the field that it names.

use super::*;

/// The refusal of a pod whose spec has `spec` and whose container `c` has
/// `container`.
fn refusal(spec: &str, container: &str) -> String {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{{spec}
         containers: [{{name: c, image: i, {container}}}]}}}}"
    );
    let error = crate::manifest::parse(&text).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    cause.to_string()
}

#[test]
fn what_lives_in_an_api_server_is_refused_by_name() {
    for (container, field) in [
        (
            "envFrom: [{secretRef: {name: s}}]",
            "spec.containers[0].envFrom",
        ),
        (
            "env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]",
            "spec.containers[0].env[0].valueFrom.configMapKeyRef",
        ),
        (
            "env: [{name: A, valueFrom: {secretKeyRef: {name: m, key: k}}}]",
            "spec.containers[0].env[0].valueFrom.secretKeyRef",
        ),
        (
            "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]",
            "spec.containers[0].env[0].valueFrom",
        ),
    ] {
        assert!(
            refusal("", container).starts_with(&format!("{field}: ")),
            "{container}"
        );
    }
    for source in [
        "configMap",
        "secret",
        "projected",
        "persistentVolumeClaim",
        "downwardAPI",
    ] {
        let message = refusal(&format!("volumes: [{{name: v, {source}: {{}}}}],"), "");
        assert!(
            message.starts_with(&format!("spec.volumes[0].{source}: ")),
            "{message}"
        );
    }
}

#[test]
fn contradictions_are_refused() {
    for (spec, container, part) in [
        ("hostUsers: false,", "", "spec.hostUsers"),
        (
            "hostPID: true, shareProcessNamespace: true,",
            "",
            "shareProcessNamespace",
        ),
        ("volumes: [{name: v}],", "", "exactly one of"),
        (
            "volumes: [{name: v, hostPath: {path: a}}],",
            "",
            "must be absolute",
        ),
        (
            "volumes: [{name: v, hostPath: {path: /a/../b}}],",
            "",
            "without `..`",
        ),
        (
            "volumes: [{name: v, emptyDir: {medium: HugePages}}],",
            "",
            "emptyDir.medium",
        ),
        (
            "volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}],",
            "",
            "used twice",
        ),
        (
            "",
            "volumeMounts: [{name: v, mountPath: /v}]",
            "names no volume",
        ),
        ("initContainers: [{name: c, image: i}],", "", "used twice"),
        (
            "initContainers: [{name: d, image: i, restartPolicy: Never}],",
            "",
            "only be Always",
        ),
        ("", "restartPolicy: Always", "containers[0].restartPolicy"),
        (
            "",
            "resources: {limits: {cpu: 1}, requests: {cpu: 2}}",
            "requests.cpu",
        ),
        ("", "env: [{name: A=B}]", "env[0].name"),
        (
            "volumes: [{name: v, emptyDir: {}}],",
            "volumeMounts: [{name: v, mountPath: /v, subPath: s}]",
            "subPath",
        ),
    ] {
        let message = refusal(spec, container);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn names_become_parts_of_paths_and_are_checked() {
    for name in ["../x", "A", "a/b", "", "a.", "-a"] {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: \"{name}\"}}, \
            spec: {{containers: [{{name: c, image: i}}]}}}}"
        );
        assert!(crate::manifest::parse(&text).is_err(), "{name}");
    }
    assert!(!is_dns_name(&"a".repeat(64), 63, false));
    assert!(is_dns_name("a.b-c.1", 63, true));
}

#[test]
fn what_is_not_enforced_is_noted() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {
        volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}],
        containers: [{name: c, image: i, resources: {limits: {nvidia.com/gpu: 1}}}]}}";
    let warnings = crate::manifest::parse(text).unwrap().warnings;
    let fields: Vec<_> = warnings.iter().map(|w| w.field.as_str()).collect();
    let expected = [
        "spec.volumes[0].emptyDir.sizeLimit",
        "spec.containers[0].resources.limits.nvidia.com/gpu",
    ];
    assert_eq!(fields, expected);
}
