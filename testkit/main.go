package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs a package's tests between a start of what they share and its close, in a folder of its own that is removed in the end, and
// returns the exit code for TestMain. A goroutine that outlives the tests fails them.
func Main(m *testing.M, start func(ctx context.Context, dir string) (closeAll func() error, err error)) int {
	code, err := shared(m, start)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func shared(m *testing.M, start func(context.Context, string) (func() error, error)) (code int, err error) {
	dir, err := os.MkdirTemp("", "quipu-test-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	closeAll, err := start(ctx, dir)
	if err != nil {
		return 0, err
	}
	code = m.Run()
	err = closeAll()
	if code == 0 {
		err = errors.Join(err, goleak.Find())
	}
	return code, err
}
