package countfile

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ErrName is returned for a name that is not one of a count file.
var ErrName = errors.New("not the name of a count file")

// Name says what is in a file, as engines that know Hive's layout understand it too.
type Name struct {
	Resolution string
	Day        int64 // its first minute since 1970
	Group      int   // of partitions
	Shard      string
	Unique     string // from NewUnique
}

// NewUnique returns a text that no other call ever returned, here or elsewhere. Later ones sort after earlier ones.
func NewUnique() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make a unique name: %w", err)
	}
	return strings.ReplaceAll(id.String(), "-", ""), nil
}

var (
	shardPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	namePattern  = regexp.MustCompile(`^resolution=(minute|hour|day)/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/group=([0-9]{4,9})/([A-Za-z0-9][A-Za-z0-9_-]{0,99})-([0-9a-f]{32})\.parquet$`)
)

// ObjectName composes a name. Group is not negative; the shard's name has letters, digits, '-' and '_'; unique comes from NewUnique.
func ObjectName(resolution string, day int64, group int, shard, unique string) (string, error) {
	name := fmt.Sprintf("%s%s-%s.parquet", Prefix(resolution, day, group), shard, unique)
	if !shardPattern.MatchString(shard) || !namePattern.MatchString(name) || day%minutesADay != 0 {
		return "", fmt.Errorf("%w: resolution %q, minute %d, group %d, shard %q, unique %q", ErrName, resolution, day, group, shard, unique)
	}
	return name, nil
}

// Prefix is what the names of all files of a resolution, day and group begin with.
func Prefix(resolution string, day int64, group int) string {
	return fmt.Sprintf("resolution=%s/date=%s/group=%04d/", resolution, time.Unix(day*60, 0).UTC().Format(time.DateOnly), group)
}

// ParseName reads a name that ObjectName composed.
func ParseName(object string) (Name, error) {
	match := namePattern.FindStringSubmatch(object)
	if match == nil {
		return Name{}, fmt.Errorf("%w: %q", ErrName, object)
	}
	day, err := time.Parse(time.DateOnly, match[2])
	if err != nil {
		return Name{}, fmt.Errorf("%w: %q", ErrName, object)
	}
	group, err := strconv.Atoi(match[3])
	if err != nil {
		return Name{}, fmt.Errorf("%w: %q", ErrName, object)
	}
	return Name{Resolution: match[1], Day: day.Unix() / 60, Group: group, Shard: match[4], Unique: match[5]}, nil
}
