package rawfile

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/quipudb/quipu/blob/internal/sealed"
)

var (
	// ErrDamaged is returned for a file that is not what was written: changed, cut, out of order, or none of ours.
	ErrDamaged = sealed.ErrDamaged

	// ErrName is returned for a name that is not one of a raw file.
	ErrName = errors.New("not the name of a raw file")

	// ErrBatch is returned for a batch that doesn't belong into a file: its offset is not the next, or it is from another time.
	ErrBatch = errors.New("batch does not belong into this file")
)

// Prefix is what the names of all raw files begin with.
const Prefix = "raw/"

// Name says which batches are in a file.
type Name struct {
	Partition   int
	Date        int64  // first minute since 1970 of the day in which the first batch was appended
	Incarnation string // of the log
	First, Next uint64 // offsets First ≤ o < Next
}

var (
	incarnationPattern = regexp.MustCompile(`^[0-9a-z]{1,64}$`)
	namePattern        = regexp.MustCompile(`^raw/partition=([0-9]{4,7})/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/([0-9a-z]{1,64})-([0-9]{20})-([0-9]{20})\.parquet$`)
)

// DateOf is the Date of a file whose first batch has this append time.
func DateOf(appendTimeMs int64) int64 {
	const dayMs = 24 * 60 * 60 * 1000
	day := appendTimeMs / dayMs
	if appendTimeMs%dayMs < 0 {
		day--
	}
	return day * 24 * 60
}

// Object composes the name: in the order of a partition's and a date's names, its files are in the order of their offsets, log by log.
func (n Name) Object() (string, error) {
	if n.Partition < 0 || !incarnationPattern.MatchString(n.Incarnation) || n.First >= n.Next || n.Date%(24*60) != 0 {
		return "", fmt.Errorf("%w: %+v", ErrName, n)
	}
	return fmt.Sprintf("%s%s-%020d-%020d.parquet", PartitionPrefix(n.Partition)+datePart(n.Date), n.Incarnation, n.First, n.Next), nil
}

// PartitionPrefix is what the names of a partition's files begin with.
func PartitionPrefix(partition int) string {
	return fmt.Sprintf("%spartition=%04d/", Prefix, partition)
}

func datePart(date int64) string {
	return "date=" + time.Unix(date*60, 0).UTC().Format(time.DateOnly) + "/"
}

// ParseName reads what Object composed.
func ParseName(object string) (Name, error) {
	match := namePattern.FindStringSubmatch(object)
	if match == nil {
		return Name{}, fmt.Errorf("%w: %q", ErrName, object)
	}
	day, err := time.Parse(time.DateOnly, match[2])
	if err != nil {
		return Name{}, fmt.Errorf("%w: %q", ErrName, object)
	}
	partition, wrongPartition := strconv.Atoi(match[1])
	first, wrongFirst := strconv.ParseUint(match[4], 10, 64)
	next, wrongNext := strconv.ParseUint(match[5], 10, 64)
	name := Name{Partition: partition, Date: day.Unix() / 60, Incarnation: match[3], First: first, Next: next}
	// Only one text stands for a name.
	composed, err := name.Object()
	if err = errors.Join(wrongPartition, wrongFirst, wrongNext, err); err != nil || composed != object {
		return Name{}, fmt.Errorf("%w: %q", ErrName, object)
	}
	return name, nil
}
