package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const fourLetterTimeout = 2 * time.Second

// ZooKeeperConfig describes one private ZooKeeper server.
type ZooKeeperConfig struct {
	// Dir holds everything of the server: data, log, settings, pid file.
	Dir string
	// Port is the client port on 127.0.0.1.
	Port int
	// Settings is a zoo.cfg to use instead of that of a standalone server: for one
	// of an ensemble. It must agree with Port; its data folder is the caller's.
	Settings string
	// DieWithParent: see Command.
	DieWithParent bool
}

// ZooKeeper is one private server, standalone unless its settings say otherwise.
// Sessions of 1 to 30 seconds are possible then.
type ZooKeeper struct {
	config ZooKeeperConfig

	mu      sync.Mutex
	process *Process
}

// NewZooKeeper describes a server; Start runs it.
func NewZooKeeper(config ZooKeeperConfig) *ZooKeeper {
	config.Dir = absolute(config.Dir)
	return &ZooKeeper{config: config}
}

// Start stops a left-over server of the same folder and returns when the server
// serves clients.
func (z *ZooKeeper) Start(ctx context.Context) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.startLocked(ctx); err != nil {
		return fmt.Errorf("start ZooKeeper: %w", err)
	}
	return nil
}

func (z *ZooKeeper) startLocked(ctx context.Context) error {
	if z.process != nil && !ended(z.process) {
		return ErrRunning
	}
	java, err := findJava()
	if err != nil {
		return err
	}
	jars, err := findZooKeeper()
	if err != nil {
		return err
	}
	dir := z.config.Dir
	conf := filepath.Join(dir, "conf")
	if err := errors.Join(os.MkdirAll(conf, 0o700), os.MkdirAll(filepath.Join(dir, "data"), 0o700)); err != nil {
		return err
	}
	pidFile := filepath.Join(dir, pidFileName)
	if err := stopLeftoverPatiently(ctx, pidFile); err != nil {
		return err
	}
	files := z.settings(dir)
	if z.config.Settings != "" {
		files["zoo.cfg"] = z.config.Settings
	}
	for name, content := range files {
		if err := writeFileAtomically(filepath.Join(conf, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	z.process, err = StartProcess(Command{
		Name:          "ZooKeeper",
		Path:          java,
		Args:          append(javaFlags(), "-cp", conf+":"+jars, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(conf, "zoo.cfg")),
		Dir:           dir,
		LogFile:       z.LogFile(),
		PIDFile:       pidFile,
		DieWithParent: z.config.DieWithParent,
	})
	if err != nil {
		return err
	}
	if err := awaitAnswer(ctx, z.process, startPoll, z.serves); err != nil {
		return errors.Join(err, z.process.Kill())
	}
	return nil
}

// javaFlags keep a small server small and quick to start. preAllocSize is the
// KiB by which the transaction log grows.
func javaFlags() []string {
	return []string{
		"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto",
		"-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true",
		"-Dzookeeper.jmx.log4j.disable=true", "-Dzookeeper.preAllocSize=4096",
	}
}

// settings are the files of the conf folder. ZooKeeper writes its log through
// whichever of two libraries its distribution carries.
func (z *ZooKeeper) settings(dir string) map[string]string {
	return map[string]string{
		"zoo.cfg": fmt.Sprintf(`# Written at every start.
dataDir=%s
clientPort=%d
clientPortAddress=127.0.0.1
tickTime=500
minSessionTimeout=1000
maxSessionTimeout=30000
maxClientCnxns=1000
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr,mntr
autopurge.snapRetainCount=3
autopurge.purgeInterval=1
`, filepath.Join(dir, "data"), z.config.Port),
		"log4j.properties": `log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n
`,
		"logback.xml": `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %-5p %c{1}: %m%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
`,
	}
}

// serves asks the server whether it serves clients; a server that is up but not
// ready yet says so in other words.
func (z *ZooKeeper) serves(ctx context.Context) error {
	answer, err := z.FourLetter(ctx, "srvr")
	if err != nil {
		return err
	}
	if !strings.Contains(answer, "\nMode: ") {
		return fmt.Errorf("srvr answers %q", strings.TrimSpace(answer))
	}
	return nil
}

// FourLetter sends one of the commands ruok, srvr and mntr.
func (z *ZooKeeper) FourLetter(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fourLetterTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", z.Address())
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper %s: %w", command, err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, command); err != nil {
		return "", fmt.Errorf("ask ZooKeeper %s: %w", command, err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", fmt.Errorf("ask ZooKeeper %s: %w", command, err)
	}
	return string(answer), nil
}

// Stop ends the server in order and waits; see Process.Stop.
func (z *ZooKeeper) Stop(ctx context.Context) error {
	if p := z.Process(); p != nil {
		return p.Stop(ctx)
	}
	return nil
}

// Kill ends the server as kill -9 does.
func (z *ZooKeeper) Kill() error {
	if p := z.Process(); p != nil {
		return p.Kill()
	}
	return nil
}

// Process is the server's process since the last Start, nil before the first.
func (z *ZooKeeper) Process() *Process {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.process
}

// Address is host:port.
func (z *ZooKeeper) Address() string { return LoopbackAddress(z.config.Port) }

// LogFile is where the server writes its messages.
func (z *ZooKeeper) LogFile() string { return filepath.Join(z.config.Dir, "zookeeper.log") }
