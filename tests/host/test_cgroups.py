"""The paths of control groups, as each container runtime writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.host.cgroups import NO_GROUPS, Groups, normalize_pod, parse_groups, shorten_id

OWN = "4f1c9a2b7d3e" + 52 * "0"
OUTER = "c0ffee" + 58 * "1"
TASK = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
FARGATE = f"{TASK}-2531612879"
UID = "0c2d1f4e-8f3a-4b5c-9d6e-7f8091a2b3c4"
POD = UID.replace("-", "")
# systemd separates the levels of slices with dashes.
SLICED = UID.replace("-", "_")
# Hash of a static pod's manifest.
STATIC = "5d41402abc4b2a76b9719d911017c592"
SLICES = "/kubepods.slice/kubepods-burstable.slice"


@pytest.mark.parametrize(
    ("path", "containers", "pods"),
    [
        pytest.param(f"/docker/{OWN}", [OWN], [], id="Docker"),
        pytest.param(f"/system.slice/docker-{OWN}.scope", [OWN], [], id="Docker, systemd"),
        pytest.param(f"/docker/{OWN}/init.scope", [OWN], [], id="Docker, systemd inside the container"),
        pytest.param(f"/kubepods/burstable/pod{UID}/{OWN}", [OWN], [POD], id="containerd"),
        pytest.param(f"/kubepods/pod{UID}/{OWN}", [OWN], [POD], id="containerd, guaranteed"),
        pytest.param(
            f"{SLICES}/kubepods-burstable-pod{SLICED}.slice/cri-containerd-{OWN}.scope",
            [OWN],
            [POD],
            id="containerd, systemd",
        ),
        pytest.param(
            f"/kubepods.slice/kubepods-pod{SLICED}.slice/cri-containerd-{OWN}.scope",
            [OWN],
            [POD],
            id="containerd, systemd, guaranteed",
        ),
        pytest.param(
            f"/system.slice/containerd.service/kubepods-besteffort-pod{SLICED}.slice:cri-containerd:{OWN}",
            [OWN],
            [POD],
            id="containerd, cgroupfs with a path meant for systemd",
        ),
        pytest.param(f"/kubepods/besteffort/pod{UID}/crio-{OWN}", [OWN], [POD], id="CRI-O"),
        pytest.param(
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICED}.slice/crio-{OWN}.scope",
            [OWN],
            [POD],
            id="CRI-O, systemd",
        ),
        pytest.param(f"/machine.slice/libpod-{OWN}.scope/container", [OWN], [], id="podman"),
        pytest.param(
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{OWN}.scope/container",
            [OWN],
            [],
            id="podman, rootless",
        ),
        pytest.param(f"/libpod_parent/libpod-{OWN}", [OWN], [], id="podman, cgroupfs"),
        pytest.param(f"/ecs/{UID}/{OWN}", [OWN], [], id="ECS on EC2"),
        pytest.param(f"/ecs/{TASK}/{OWN}", [OWN], [], id="ECS on EC2, later tasks"),
        pytest.param(f"/ecs/{TASK}/{FARGATE}", [FARGATE], [], id="ECS on Fargate"),
        pytest.param(
            f"{SLICES}/kubepods-burstable-pod{STATIC}.slice/cri-containerd-{OWN}.scope",
            [OWN],
            [STATIC],
            id="a static pod",
        ),
        pytest.param(f"/kubepods/burstable/pod{STATIC}/{OWN}", [OWN], [STATIC], id="a static pod, cgroupfs"),
        pytest.param(f"/docker/{OUTER}/docker/{OWN}", [OUTER, OWN], [], id="Docker in Docker"),
        pytest.param(
            f"/docker/{OUTER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
            f"kubelet-kubepods-besteffort-pod{SLICED}.slice/cri-containerd-{OWN}.scope",
            [OUTER, OWN],
            [POD],
            id="kind",
        ),
        pytest.param(f"/docker/{OUTER}/kubelet/kubepods/pod{UID}/{OWN}", [OUTER, OWN], [POD], id="kind, cgroupfs"),
        pytest.param(f"/../{OWN}", [OWN], [], id="relative to another container of the same pod"),
        pytest.param(f"/../../pod{UID}/{OWN}", [OWN], [POD], id="relative to a container of another pod"),
        pytest.param(f"/../cri-containerd-{OWN}.scope", [OWN], [], id="relative, systemd"),
        pytest.param(f"/kubepods/pod{UID}", [], [POD], id="a pod without a container"),
        pytest.param(f"/docker/{OWN} (deleted)", [OWN], [], id="a group that was removed"),
    ],
)
@pytest.mark.parametrize("before", ["0::", "4:memory:", "1:name=systemd:", "7:cpu,cpuacct:"])
def test_a_path_names_its_containers_and_pods(before, path, containers, pods):
    groups = parse_groups(f"{before}{path}\n")

    assert groups == Groups(tuple(containers), frozenset(pods))
    assert groups.container == (containers[-1] if containers else None)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/", id="root"),
        pytest.param("/../..", id="outside of our namespace"),
        pytest.param("/user.slice/user-1000.slice/session-3.scope", id="a session"),
        pytest.param("/system.slice/gunicorn.service", id="a service"),
        pytest.param("/system.slice/system-gunicorn.slice/gunicorn@web.service", id="an instance of a service"),
        pytest.param("/lxc/web", id="LXC"),
        pytest.param(f"/docker/{OWN}0", id="65 digits"),
        pytest.param(f"/docker/{OWN[1:]}", id="63 digits"),
        pytest.param(f"/docker/{OWN.upper()}", id="upper case"),
        pytest.param(f"/docker/{OWN[:63]}g", id="not hexadecimal"),
        pytest.param(f"/ecs/{TASK}", id="a task"),
        pytest.param(f"/ecs/0{FARGATE}", id="ECS with 33 digits"),
        pytest.param(f"/ecs/{TASK}-", id="ECS without a number"),
        pytest.param(f"/kubepods/pod{UID[:-1]}", id="a short UID"),
        pytest.param(f"/kubepods/pod{UID}0", id="a long UID"),
        pytest.param(f"/kubepods/pod{UID.upper()}", id="a UID in upper case"),
        pytest.param(f"/kubepods/{UID}", id="a UUID that is not a pod's"),
    ],
)
def test_a_process_of_the_host_is_in_no_container(path):
    assert parse_groups(f"0::{path}\n") is NO_GROUPS
    assert parse_groups(f"0::{path}\n").container is None


def test_all_controllers_of_version_1_name_one_container():
    names = ["name=systemd", "memory", "cpu,cpuacct", "net_cls,net_prio", "pids"]
    text = "".join(f"{number}:{name}:/docker/{OWN}\n" for number, name in enumerate(names, 1))

    assert parse_groups(text) == Groups((OWN,))


@pytest.mark.parametrize("is_first", [True, False])
def test_controllers_that_do_not_know_the_nested_container(is_first):
    known, unknown = f"4:memory:/docker/{OUTER}/docker/{OWN}", f"3:rdma:/docker/{OUTER}"
    lines = [known, unknown] if is_first else [unknown, known]

    assert parse_groups("\n".join([*lines, "0::/", ""])).containers == (OUTER, OWN)


def test_version_2_beside_controllers_of_version_1():
    assert parse_groups(f"1:name=systemd:/\n0::/system.slice/docker-{OWN}.scope\n").container == OWN
    assert parse_groups(f"1:name=systemd:/system.slice/docker-{OWN}.scope\n0::/\n").container == OWN


def test_a_pod_counts_on_whichever_line_it_is():
    assert parse_groups(f"2:cpu:/kubepods/pod{UID}\n1:memory:/{OWN}\n") == Groups((OWN,), frozenset([POD]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0::",
        "0:",
        ":",
        f"/docker/{OWN}",
        f"docker:/{OWN}",
        f"4:memory:/docker/{OWN[:40]}",
        "\0",
        "0::/\udce9",
    ],
)
def test_malformed_or_truncated_text_names_no_container(text):
    assert parse_groups(text) is NO_GROUPS


hostile = st.lists(
    st.sampled_from([*"0f:/-_\n\0", "0::", "pod", "/docker/", ".slice", OWN, TASK, UID, FARGATE, "\udce9", "\x85"])
    | st.text(st.characters(), max_size=3)
).map("".join)


@given(hostile)
def test_any_text_is_parsed_without_an_error(text):
    groups = parse_groups(text)

    assert all(part in text for part in groups.containers)
    assert all(len(pod) == 32 for pod in groups.pods)
    assert (groups.container is None) == (not groups.containers)


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 63))
def test_an_id_is_found_whole_or_not_at_all(container, cut):
    assert parse_groups(f"0::/docker/{container}").container == container
    assert parse_groups(f"0::/docker/{container[:cut]}").container is None


@pytest.mark.parametrize("uid", [UID, SLICED, POD, UID.upper()])
def test_a_pods_uid_has_one_form(uid):
    assert normalize_pod(uid) == POD


def test_ids_are_shortened_as_docker_ps_does():
    assert shorten_id(OWN) == "4f1c9a2b7d3e"
