//! Whose a failure is: who has to act before another attempt can succeed.

use std::io::{self, ErrorKind};

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

use crate::OperatorError;

/// Who has to act before another attempt can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The user: the data, the configuration, a file or a server has to change.
    User,
    /// Nobody: a network, a busy server, a time-out or an external program, which may do better the next time.
    Transient,
    /// The authors of the operator: it is a defect.
    Internal,
}

pub(crate) fn of(error: &OperatorError) -> Fault {
    match error {
        OperatorError::Invalid(_) | OperatorError::Server(_) | OperatorError::Cancelled => Fault::User,
        OperatorError::Transient(_) | OperatorError::TimedOut(_) => Fault::Transient,
        OperatorError::Internal(_) => Fault::Internal,
        OperatorError::Io { source, .. } => of_io(source),
        OperatorError::Query(error) => of_query(error),
        OperatorError::Arrow(error) => of_arrow(error),
        OperatorError::Parquet { source, .. } => of_parquet(source),
    }
}

fn of_io(error: &io::Error) -> Fault {
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::NotConnected
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::BrokenPipe
        | ErrorKind::Interrupted
        | ErrorKind::ResourceBusy
        | ErrorKind::StaleNetworkFileHandle
        | ErrorKind::TimedOut
        | ErrorKind::WouldBlock => Fault::Transient,
        _ => Fault::User,
    }
}

fn of_query(error: &DataFusionError) -> Fault {
    // A function of an operator hands its own error through the query.
    match error.find_root() {
        DataFusionError::IoError(error) => of_io(error),
        DataFusionError::ArrowError(error, _) => of_arrow(error),
        DataFusionError::ParquetError(error) => of_parquet(error),
        DataFusionError::External(error) => of_external(error.as_ref()),
        DataFusionError::Internal(_) => Fault::Internal,
        _ => Fault::User,
    }
}

fn of_arrow(error: &ArrowError) -> Fault {
    match error {
        ArrowError::IoError(_, error) => of_io(error),
        ArrowError::ExternalError(error) => of_external(error.as_ref()),
        ArrowError::SchemaError(_)
        | ArrowError::InvalidArgumentError(_)
        | ArrowError::NotYetImplemented(_)
        | ArrowError::CDataInterface(_) => Fault::Internal,
        _ => Fault::User,
    }
}

fn of_parquet(error: &ParquetError) -> Fault {
    match error {
        ParquetError::External(error) => of_external(error.as_ref()),
        _ => Fault::User,
    }
}

fn of_external(error: &(dyn std::error::Error + 'static)) -> Fault {
    if let Some(error) = error.downcast_ref::<OperatorError>() {
        of(error)
    } else if let Some(error) = error.downcast_ref::<io::Error>() {
        of_io(error)
    } else {
        Fault::User
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: ErrorKind) -> OperatorError {
        OperatorError::io("file")(io::Error::from(kind))
    }

    #[test]
    fn bad_data_and_missing_files_are_the_users() {
        for error in [
            OperatorError::invalid("column `x` has a null"),
            OperatorError::Server("wrong password".to_owned()),
            io(ErrorKind::NotFound),
            io(ErrorKind::PermissionDenied),
            ArrowError::DivideByZero.into(),
            DataFusionError::Plan("no such column".to_owned()).into(),
        ] {
            assert_eq!(error.fault(), Fault::User, "{error}");
        }
    }

    #[test]
    fn what_may_pass_is_transient_wherever_it_is_wrapped() {
        let reset = || io::Error::from(ErrorKind::ConnectionReset);
        for error in [
            OperatorError::transient("the server does not answer"),
            OperatorError::TimedOut(std::time::Duration::from_secs(1)),
            io(ErrorKind::Interrupted),
            ArrowError::IoError("read".to_owned(), reset()).into(),
            DataFusionError::IoError(reset()).context("scan").into(),
            DataFusionError::External(Box::new(OperatorError::transient("busy"))).into(),
        ] {
            assert!(error.is_transient(), "{error}");
        }
    }

    #[test]
    fn a_broken_promise_is_a_defect_and_says_so() {
        let error = OperatorError::internal("there is no column `x`");
        assert_eq!(error.fault(), Fault::Internal);
        assert!(error.to_string().contains("please report it"));
        let error = OperatorError::from(DataFusionError::Internal("no such field".to_owned()));
        assert_eq!(error.fault(), Fault::Internal);
    }

    #[test]
    fn another_text_keeps_the_fault() {
        for error in [
            OperatorError::invalid("a"),
            io(ErrorKind::TimedOut),
            OperatorError::internal("c"),
        ] {
            let more = error.reworded(|text| format!("column `x`: {text}"));
            assert_eq!(more.fault(), error.fault());
            assert!(more.to_string().starts_with("column `x`: "));
        }
    }
}
