//! The two servers, as far as a switch depends on them.

/// Whether a server runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Power {
    Up,
    /// It comes back.
    Down,
    /// It never does.
    Gone,
}

/// Who gets in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Nobody new; sessions of before are left.
    Sessions,
    /// Nobody is in, and nobody gets in.
    Empty,
}

/// Whether a stranger opened a closed server, or wrote on it, since its fence was last proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Meddling {
    Never,
    /// Since the command began that opens the other server: no look can see that in time.
    Lately,
    /// Before that command began.
    Before,
}

/// What a stranger did on the source while the target served, and no operator has given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Strayed {
    Nothing,
    /// Since the command began that looks before something is done: no look can see that in time.
    Lately,
    /// Before that command began, or a look has seen it.
    Before,
}

/// The server that the migration leaves.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub power: Power,
    pub access: Access,
    /// The epoch in the fence's own record.
    pub record: Option<u8>,
    /// It is open, and a stranger opened it.
    pub opened_by_stranger: bool,
    pub meddling: Meddling,
    pub strayed: Strayed,
    /// It applies what the target sends.
    pub applies: bool,
}

/// The standby that becomes the writer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub power: Power,
    pub is_primary: bool,
    /// It gets no more of the source's WAL.
    pub is_cut_off: bool,
    /// On a standby: as replayed.
    pub access: Access,
    pub record: Option<u8>,
    pub opened_by_stranger: bool,
    pub meddling: Meddling,
    /// The source has acknowledged a commit that is not here.
    pub lacks: bool,
    pub slots: Slots,
    /// It has acknowledged a commit that its slots hold and the source has not applied.
    pub undelivered: bool,
    /// It has acknowledged a commit that no slot holds.
    pub uncarried: bool,
    /// It has acknowledged a commit since its promotion.
    pub written: bool,
}

/// The slots of the reverse stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Slots {
    None,
    Whole,
    /// A table is left out.
    Gap,
    Lost,
}

impl Slots {
    /// Whether they are there.
    pub fn are_there(self) -> bool {
        matches!(self, Self::Whole | Self::Gap)
    }
}

impl Source {
    /// A primary that serves.
    pub fn serving() -> Self {
        Self {
            power: Power::Up,
            access: Access::Open,
            record: None,
            opened_by_stranger: false,
            meddling: Meddling::Never,
            strayed: Strayed::Nothing,
            applies: false,
        }
    }

    /// Whether clients can get a commit acknowledged.
    pub fn accepts(&self) -> bool {
        self.power == Power::Up && self.access != Access::Empty
    }
}

impl Target {
    /// A standby that replays.
    pub fn standby() -> Self {
        Self {
            power: Power::Up,
            is_primary: false,
            is_cut_off: false,
            access: Access::Open,
            record: None,
            opened_by_stranger: false,
            meddling: Meddling::Never,
            lacks: false,
            slots: Slots::None,
            undelivered: false,
            uncarried: false,
            written: false,
        }
    }

    /// Whether clients can get a commit acknowledged.
    pub fn accepts(&self) -> bool {
        self.power == Power::Up && self.is_primary && self.access != Access::Empty
    }

    /// Whether it is a primary that nobody was let into and nobody wrote to.
    pub fn is_closed_and_unwritten(&self) -> bool {
        self.is_primary && self.access == Access::Empty && !self.written
    }

    /// Whether it has acknowledged a commit that the source does not have.
    pub fn is_ahead(&self) -> bool {
        self.undelivered || self.uncarried
    }
}

impl Access {
    /// After the sessions were ended.
    pub fn emptied(self) -> Self {
        match self {
            Self::Open => Self::Open,
            Self::Sessions | Self::Empty => Self::Empty,
        }
    }

    /// After the databases were closed.
    pub fn closed(self) -> Self {
        match self {
            Self::Open => Self::Sessions,
            Self::Sessions => Self::Sessions,
            Self::Empty => Self::Empty,
        }
    }
}

impl Strayed {
    /// A command begins whose look would see what happened before it.
    pub fn at_the_beginning(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Lately | Self::Before => Self::Before,
        }
    }
}

impl Meddling {
    /// A command begins whose look would see what happened before it.
    pub fn at_the_beginning(self) -> Self {
        match self {
            Self::Lately => Self::Before,
            Self::Never => Self::Never,
            Self::Before => Self::Before,
        }
    }
}
