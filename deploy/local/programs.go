package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing says that a program that Quipu needs is not installed.
var ErrMissing = errors.New("not installed: run `make deps`")

// FindProgram looks on the PATH and where Debian and others keep servers. Its error is ErrMissing.
func FindProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/usr/libexec"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrMissing)
}

func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path := filepath.Join(home, "bin", "java")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return FindProgram("java")
}

// debianJars is where Debian's packages put ZooKeeper and what it needs, under
// names without versions.
var debianJars = []string{
	"zookeeper.jar", "zookeeper-jute.jar",
	"slf4j-api.jar", "slf4j-log4j12.jar", "log4j-1.2.jar",
	"netty-all.jar", "netty-common.jar", "netty-buffer.jar", "netty-codec.jar", "netty-handler.jar",
	"netty-resolver.jar", "netty-transport.jar", "metrics-core.jar", "snappy-java.jar", "snappy.jar",
	"commons-cli.jar", "commons-io.jar", "findbugs-annotations.jar", "jackson-core.jar",
	"jackson-databind.jar", "jackson-annotations.jar",
}

// findZooKeeper is the class path of ZooKeeper's server: that of ZOOKEEPER_HOME
// if it is set, else Debian's.
func findZooKeeper() (string, error) {
	if home := os.Getenv("ZOOKEEPER_HOME"); home != "" {
		jars, err := filepath.Glob(filepath.Join(home, "lib", "*.jar"))
		if err != nil || len(jars) == 0 {
			return "", fmt.Errorf("ZOOKEEPER_HOME=%s: no lib/*.jar: %w", home, ErrMissing)
		}
		return strings.Join(jars, ":"), nil
	}
	const dir = "/usr/share/java"
	if _, err := os.Stat(filepath.Join(dir, "zookeeper.jar")); err != nil {
		return "", fmt.Errorf("ZooKeeper (%s/zookeeper.jar): %w", dir, ErrMissing)
	}
	var jars []string
	for _, name := range debianJars {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			jars = append(jars, filepath.Join(dir, name))
		}
	}
	return strings.Join(jars, ":"), nil
}
