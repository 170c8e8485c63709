package zookeeper_test

import (
	"fmt"
	"testing"

	"github.com/go-zookeeper/zk"

	"github.com/quipudb/quipu/testkit"
)

// raw opens a plain connection to the server, past the package.
func (w *world) raw() *zk.Conn {
	w.t.Helper()
	conn, events, err := zk.Connect([]string{w.address}, patience, zk.WithLogInfo(false), zk.WithLogger(noLog{}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	return conn
}

type noLog struct{}

func (noLog) Printf(string, ...any) {}

// awaitNoNode waits until the server has no such node.
func (w *world) awaitNoNode(path string) {
	w.t.Helper()
	conn := w.raw()
	testkit.Eventually(w.t, patience, func() error {
		exists, _, err := conn.Exists(w.root + "/" + path)
		if err != nil {
			return err
		}
		if exists {
			return fmt.Errorf("node %s exists still", path)
		}
		return nil
	})
}

// set overwrites a node.
func (w *world) set(t testing.TB, path, data string) {
	t.Helper()
	if _, err := w.raw().Set(w.root+"/"+path, []byte(data), -1); err != nil {
		t.Fatal(err)
	}
}

// stat reads a node's state.
func (w *world) stat(t testing.TB, path string) *zk.Stat {
	t.Helper()
	_, stat, err := w.raw().Get(w.root + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return stat
}

// remove deletes a node.
func (w *world) remove(t testing.TB, path string) {
	t.Helper()
	if err := w.raw().Delete(w.root+"/"+path, -1); err != nil {
		t.Fatal(err)
	}
}

// awaitNewNode waits until a node was created after another one.
func (w *world) awaitNewNode(t testing.TB, path string, after int64) {
	t.Helper()
	conn := w.raw()
	testkit.Eventually(t, patience, func() error {
		_, stat, err := conn.Get(w.root + "/" + path)
		if err == nil && stat.Czxid <= after {
			err = fmt.Errorf("node %s is the old one still", path)
		}
		return err
	})
}
