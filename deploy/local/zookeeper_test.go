package local_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
)

// session connects a client and waits for its session.
func session(t *testing.T, address string, timeout time.Duration) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{address}, timeout, zk.WithLogInfo(false), zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case event := <-events:
			if event.State == zk.StateHasSession {
				return conn
			}
		case <-deadline.C:
			t.Fatal("no session")
		}
	}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func TestZooKeeperKeepsItsData(t *testing.T) {
	t.Parallel()
	server := testkit.ZooKeeper(t)
	conn := session(t, server.Address(), 10*time.Second)
	for round, end := range []struct {
		name string
		do   func() error
	}{
		{"kill -9", server.Kill},
		{"an orderly stop", func() error { return server.Stop(t.Context()) }},
	} {
		node := fmt.Sprintf("/node-%d", round)
		if _, err := conn.Create(node, []byte("value"), 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
		if err := end.do(); err != nil {
			t.Fatalf("%s: %v", end.name, err)
		}
		start(t, server)
		testkit.Eventually(t, patience, func() error {
			got, _, err := conn.Get(node)
			if err == nil && string(got) != "value" {
				err = fmt.Errorf("the node holds %q", got)
			}
			return err
		})
	}
}

func TestZooKeeperTakesShortAndLongSessions(t *testing.T) {
	t.Parallel()
	server := testkit.ZooKeeper(t)
	for _, want := range []time.Duration{2 * time.Second, 20 * time.Second} {
		if got := negotiate(t, server.Address(), want); got != want {
			t.Errorf("the server grants a session of %v, want %v", got, want)
		}
	}
	got, err := server.FourLetter(t.Context(), "srvr")
	if err != nil || !strings.Contains(got, "Mode: standalone") {
		t.Errorf("srvr answers %q, %v", got, err)
	}
}

// negotiate asks for a session in ZooKeeper's own protocol, for the client
// library keeps the time that was granted to itself.
func negotiate(t *testing.T, address string, timeout time.Duration) time.Duration {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	request := struct {
		Length, Version int32
		Zxid            int64
		Timeout         int32
		Session         int64
		PasswordLength  int32
		Password        [16]byte
	}{Length: 44, Timeout: int32(timeout.Milliseconds()), PasswordLength: 16}
	var reply struct{ Length, Version, Timeout int32 }
	if err := binary.Write(conn, binary.BigEndian, request); err != nil {
		t.Fatal(err)
	}
	if err := binary.Read(conn, binary.BigEndian, &reply); err != nil {
		t.Fatal(err)
	}
	return time.Duration(reply.Timeout) * time.Millisecond
}

func TestZooKeeperTakesOverALeftover(t *testing.T) {
	t.Parallel()
	port, err := local.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	config := local.ZooKeeperConfig{Dir: t.TempDir(), Port: port.Number, DieWithParent: true}
	left, next := local.NewZooKeeper(config), local.NewZooKeeper(config)
	t.Cleanup(func() {
		if err := errors.Join(left.Kill(), next.Kill(), port.Release()); err != nil {
			t.Error(err)
		}
	})
	start(t, left)
	if err := left.Start(t.Context()); !errors.Is(err, local.ErrRunning) {
		t.Errorf("the second Start = %v, want ErrRunning", err)
	}
	conn := session(t, left.Address(), 10*time.Second)
	if _, err := conn.Create("/node", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	start(t, next)
	<-left.Process().Done()
	testkit.Eventually(t, patience, func() error {
		_, _, err := conn.Get("/node")
		return err
	})
}

func TestZooKeeperThatIsNotInstalled(t *testing.T) {
	t.Setenv("ZOOKEEPER_HOME", t.TempDir())
	server := local.NewZooKeeper(local.ZooKeeperConfig{Dir: t.TempDir(), Port: 1})
	err := server.Start(t.Context())
	if !errors.Is(err, local.ErrMissing) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("error = %v, want one that says to run make deps", err)
	}
}
