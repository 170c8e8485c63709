package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	startPoll    = 10 * time.Millisecond
	startLogTail = 25
	// leftoverPatience is how long a server left behind by a killed launcher may
	// take to shut down before it is killed. Its data survives either.
	leftoverPatience = 20 * time.Second
	// socketPathLimit is sun_path of Linux less its final zero.
	socketPathLimit = 107
	rootConnections = 4
)

// ErrRunning says that a server was started twice.
var ErrRunning = errors.New("runs already")

// MariaDBConfig describes one private MariaDB server.
type MariaDBConfig struct {
	// Name is what errors and the log folder's readers call the server: s1-a.
	Name string
	// Dir holds everything of the server: data, log, settings, pid file.
	Dir string
	// MySQL is the path of a mysqld 8.0.22 or newer to run instead of MariaDB's server. Empty: MariaDB's, wherever it is installed.
	MySQL string
	// Port is the TCP port on 127.0.0.1.
	Port int
	// ServerID must differ between the servers that replicate from each other.
	ServerID uint32
	// ReadOnly refuses writes of every account but root. For replicas.
	ReadOnly bool
	// BufferPoolBytes is InnoDB's cache; 0 means 256 MiB.
	BufferPoolBytes int64
	// RedoLogBytes is the size of InnoDB's redo log; 0 means 256 MiB.
	RedoLogBytes int64
	// MaxConnections; 0 means 300.
	MaxConnections int
	// Settings are added to the server's settings or replace them.
	Settings map[string]string
	// TemplateDir caches fresh data folders; empty means the user's cache folder.
	TemplateDir string
	// DieWithParent: see Command.
	DieWithParent bool
}

// MariaDB is one private server. Root, without a password, comes in only through
// the unix socket, which lies in a folder that only its owner may enter.
type MariaDB struct {
	config MariaDBConfig

	mu        sync.Mutex
	process   *Process
	socketDir string // made for a socket whose path would be too long in Dir
	root      *sql.DB
}

// NewMariaDB describes a server; Start runs it.
func NewMariaDB(config MariaDBConfig) *MariaDB {
	config.Dir = absolute(config.Dir)
	return &MariaDB{config: config}
}

// Start makes the data folder if there is none, stops a left-over server of the
// same folder, and returns when the server answers SQL.
func (m *MariaDB) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.startLocked(ctx); err != nil {
		return fmt.Errorf("start MariaDB %s: %w", m.config.Name, err)
	}
	return nil
}

func (m *MariaDB) startLocked(ctx context.Context) error {
	if m.process != nil && !ended(m.process) {
		return ErrRunning
	}
	m.closeLocked()
	server, err := m.program()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.config.Dir, 0o700); err != nil {
		return err
	}
	if err := stopLeftoverPatiently(ctx, m.pidFile()); err != nil {
		return err
	}
	if err := ensureData(ctx, m.config.TemplateDir, server, m.config.MySQL != "", m.dataDir()); err != nil {
		return err
	}
	socket, err := m.chooseSocketLocked()
	if err != nil {
		return err
	}
	if err := writeFileAtomically(m.settingsFile(), m.settings(socket), 0o600); err != nil {
		return err
	}
	m.process, err = StartProcess(Command{
		Name:          "MariaDB " + m.config.Name,
		Path:          server,
		Args:          []string{"--defaults-file=" + m.settingsFile()},
		Dir:           m.config.Dir,
		LogFile:       m.LogFile(),
		PIDFile:       m.pidFile(),
		DieWithParent: m.config.DieWithParent,
	})
	if err != nil {
		return err
	}
	if m.root, err = openRoot(socket); err != nil {
		return errors.Join(err, m.process.Kill())
	}
	if err := awaitAnswer(ctx, m.process, startPoll, m.root.PingContext); err != nil {
		return errors.Join(err, m.process.Kill())
	}
	return nil
}

func (m *MariaDB) program() (string, error) {
	if m.config.MySQL != "" {
		return m.config.MySQL, nil
	}
	return FindProgram("mariadbd")
}

// Stop shuts the server down in order and waits; see Process.Stop.
func (m *MariaDB) Stop(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil
	}
	defer m.closeLocked()
	return m.process.Stop(ctx)
}

// Kill ends the server as kill -9 does.
func (m *MariaDB) Kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil
	}
	defer m.closeLocked()
	return m.process.Kill()
}

// Process is the server's process since the last Start, nil before the first.
func (m *MariaDB) Process() *Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// Root is a small pool of root's connections through the unix socket, nil before
// the first Start. It is good until the server is stopped or killed; each Start
// makes another. Root is not bound by read_only: never write with it on a replica.
func (m *MariaDB) Root() *sql.DB {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root
}

// Name is the configured name.
func (m *MariaDB) Name() string { return m.config.Name }

// Port is the configured port.
func (m *MariaDB) Port() int { return m.config.Port }

// Address is host:port.
func (m *MariaDB) Address() string { return LoopbackAddress(m.config.Port) }

// Socket is the path of root's unix socket, empty before the first Start.
func (m *MariaDB) Socket() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.socketLocked()
}

// LogFile is where the server writes its messages.
func (m *MariaDB) LogFile() string { return filepath.Join(m.config.Dir, "mariadb.log") }

func (m *MariaDB) dataDir() string      { return filepath.Join(m.config.Dir, "data") }
func (m *MariaDB) pidFile() string      { return filepath.Join(m.config.Dir, pidFileName) }
func (m *MariaDB) settingsFile() string { return filepath.Join(m.config.Dir, "my.cnf") }

func (m *MariaDB) socketLocked() string {
	if m.socketDir != "" {
		return filepath.Join(m.socketDir, "sock")
	}
	return filepath.Join(m.config.Dir, "sock")
}

// chooseSocketLocked puts the socket beside the data, or in a short temporary
// folder where that path would be too long for the kernel.
func (m *MariaDB) chooseSocketLocked() (string, error) {
	if path := m.socketLocked(); len(path) <= socketPathLimit {
		return path, nil
	}
	dir, err := os.MkdirTemp("/tmp", "quipu-sock-")
	if err != nil {
		return "", err
	}
	m.socketDir = dir
	return m.socketLocked(), nil
}

func (m *MariaDB) closeLocked() {
	if m.root != nil {
		_ = m.root.Close()
	}
	if m.socketDir != "" {
		_ = os.RemoveAll(m.socketDir)
		m.socketDir = ""
	}
}

func openRoot(socket string) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr = "root", "unix", socket
	config.InterpolateParams = true // DDL takes no prepared parameters
	config.Timeout, config.ReadTimeout = 10*time.Second, time.Minute
	config.Logger = &mysql.NopLogger{} // a server that isn't up yet is no news
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("open root connection: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(rootConnections)
	return db, nil
}

// awaitAnswer polls a server that was just started until it answers, ends or ctx
// is done.
func awaitAnswer(ctx context.Context, p *Process, every time.Duration, ask func(context.Context) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last error // what it said while there was time
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ticker.C:
			continue
		case <-p.Done():
			err = fmt.Errorf("it ended: %w", exitError(p))
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ctx.Err(), last)
		}
		return fmt.Errorf("%w\n%s:\n%s", err, p.LogFile(), indent(p.LogTail(startLogTail)))
	}
}

func ended(p *Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

func exitError(p *Process) error {
	if err := p.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}

func stopLeftoverPatiently(ctx context.Context, pidFile string) error {
	patience, cancel := context.WithTimeout(ctx, leftoverPatience)
	defer cancel()
	_, err := StopLeftover(patience, pidFile)
	return err
}
