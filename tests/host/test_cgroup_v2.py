import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadog_checks.gunicorn.host.cgroup_v2 import parse_mount, parse_path, read_control_group, read_mount, read_path

V1 = "9:name=systemd:/system.slice/web.service\n4:memory:/a:b\n"
HYBRID = """\
22 1 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:5 - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:3 - cgroup2 cgroup2 rw,nsdelegate
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw\n"
PART = "50 23 0:26 /docker/4f1c /sys/fs/cgroup ro,relatime - cgroup2 cgroup ro\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/system.slice/web.service\n", "/system.slice/web.service"),
        (V1 + "0::/a:b c\n", "/a:b c"),
        ("0::/\n", "/"),
        ("0::/../web\n", "/../web"),
        ("0::/web (deleted)\n", "/web (deleted)"),
        (V1, None),
        ("", None),
        ("10::/web\n", None),
    ],
)
def test_the_path_in_cgroup_v2(text, path):
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        (HYBRID, "/sys/fs/cgroup/unified"),
        (UNIFIED, "/sys/fs/cgroup"),
        (PART + UNIFIED.replace("/sys/fs/cgroup ", "/mnt/a\\040b\\134 "), "/mnt/a b\\"),
        (PART, None),
        (HYBRID.replace("cgroup2", "cgroup"), None),
        ("", None),
        ("41 31 0:38 - cgroup2 cgroup2 rw", None),
    ],
)
def test_the_mount_of_cgroup_v2(text, mount):
    assert parse_mount(text) == mount


@given(st.text())
def test_any_text_is_parsed_without_an_error(text):
    parse_path(text)
    mount = parse_mount(f"{text} - cgroup2 {text}\n")
    assert mount is None or isinstance(mount, str)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's control groups")
def test_our_own_group():
    path, mount = read_path(os.getpid()), read_mount()
    if path is None or mount is None or ".." in path:
        pytest.skip("without cgroup v2")
    group = read_control_group(mount, path)
    assert os.getpid() in group.pids
    assert group.number == os.stat(mount + path).st_ino
    with pytest.raises(OSError, match="No such file"):
        read_control_group(mount, "/no such group")
