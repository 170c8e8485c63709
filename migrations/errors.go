package migrations

import (
	"errors"
	"fmt"
)

// Errors of a run. Test with errors.Is.
var (
	ErrLocked   = errors.New("another migration is running")
	ErrDataLoss = errors.New("refused, because it destroys data")
	ErrRefused  = errors.New("the migration refuses to run on this data")
	ErrUnknown  = errors.New("no such version")
)

// DirtyError is a migration that stopped half way on one shard.
type DirtyError struct {
	Shard     string
	Version   uint // of the file
	File      string
	Direction Direction
	Statement int    // 1 is the first of the file; 0 if unknown
	Text      string // of the statement
	Before    uint   // version to force when what was done is undone by hand
	After     uint   // version to force when what is missing is done by hand
	Err       error  // nil when an earlier run left it so
	Cause     string // what the earlier run recorded
}

func (e *DirtyError) Error() string {
	why := e.Cause
	if e.Err != nil {
		why = e.Err.Error()
	}
	if why == "" {
		why = "it was interrupted"
	}
	return fmt.Sprintf("shard %s: migration %s (version %d) stopped at statement %d: %s\n    %s\n"+
		"Look at what the statement left behind. Then either undo the file's statements before it and run\n"+
		"    quipu migrate force --shard %s %d\n"+
		"or carry out it and those after it by hand and run\n"+
		"    quipu migrate force --shard %s %d",
		e.Shard, e.File, e.Version, e.Statement, why, e.Text, e.Shard, e.Before, e.Shard, e.After)
}

func (e *DirtyError) Unwrap() error { return e.Err }
