from .asymptotics import FlowAsymptotics as FlowAsymptotics
from .asymptotics import flow_asymptotics as flow_asymptotics
from .collapse_errors import CollapseErrors as CollapseErrors
from .collapse_errors import collapse_errors as collapse_errors
from .driver import gradient_flow as gradient_flow
from .solution import FlowSolution as FlowSolution
